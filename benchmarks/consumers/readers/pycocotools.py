"""pycocotools: the reference. Read, decoded, and evaluated against itself."""

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.consumers.readers.shared import read_and_evaluate


def read(annotations, images, *, masks):
    return read_and_evaluate(COCO, COCOeval, annotations, masks=masks)
