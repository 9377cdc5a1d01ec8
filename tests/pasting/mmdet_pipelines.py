"""The discs as a dataset of MMDetection, and AffinityPaste in its pipelines."""

from tests.pasting.discs import NAMES

LOAD = {
    "boxes": [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)],
    "bitmap": [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    ],
    "polygon": [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=False),
    ],
}


def coco(data, pipeline, **options):
    from mmdet.datasets import CocoDataset

    return CocoDataset(
        data_root=str(data), ann_file="train.json", data_prefix=dict(img="images/"),
        metainfo=dict(classes=NAMES), pipeline=pipeline, **options,
    )  # fmt: skip


def paste_config(data, *, bank="bank", **options):
    found = dict(type="AffinityPaste", affinity=str(data / "affinity.json"), prob=1.0)
    return found | (dict(bank=str(data / bank)) if bank else {}) | options
