"""faster-coco-eval: read, decoded, and evaluated against itself."""

from faster_coco_eval import COCO, COCOeval_faster

from benchmarks.consumers.readers.shared import read_and_evaluate


def read(annotations, images, *, masks):
    return read_and_evaluate(COCO, COCOeval_faster, annotations, masks=masks)
