"""The libraries that read the output: what is installed for each, and what each is known not to do."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.consumers.comparison import NO_LIMITS, Limits

HEADLESS = "opencv-python-headless>=4.10,<5"


@dataclass(frozen=True)
class Library:
    """A reader of COCO files.

    Attributes:
        name: As its users call it.
        reader: Its module in `readers/`.
        distribution: The package whose version is shown.
        packages: What its environment holds; none where this one will do.
        limits: What it is known not to do.
    """

    name: str
    reader: str
    distribution: str
    packages: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS


LIBRARIES = (
    Library("augsynth", "own", "augsynth"),
    Library("pycocotools, bbox and segm", "pycocotools", "pycocotools"),
    Library(
        "faster-coco-eval, bbox and segm",
        "faster_coco_eval",
        "faster-coco-eval",
        ("faster-coco-eval>=1.8,<2",),
    ),
    Library("torchvision, wrapped CocoDetection", "torchvision", "torchvision"),
    Library(
        "MMDetection, CocoDataset",
        "mmdetection",
        "onedl-mmdetection",
        (
            *("onedl-mmcv>=2.3.6,<2.4", "onedl-mmdetection>=3.5.1,<4", "onedl-mmengine>=0.10.12,<0.11"),
            *("torch<2.14", "torchvision<0.29", HEADLESS),
        ),
    ),
    Library(
        "transformers, DETR",
        "transformers",
        "transformers",
        limits=Limits(crowds=True, why="leaves out crowds (`prepare_coco_detection_annotation`)"),
    ),
    Library(
        "supervision",
        "supervision",
        "supervision",
        ("supervision>=0.31,<1", HEADLESS),
        Limits(
            masks=True,
            why="rounds outlines to whole pixels and draws their edge (`coco_annotations_to_masks`)",
        ),
    ),
    Library(
        "FiftyOne, importer",
        "fiftyone",
        "fiftyone",
        ("fiftyone>=1.20,<2", HEADLESS, "pycocotools>=2.0.8,<3"),
        Limits(
            masks=True,
            why="keeps of a mask what lies in the box rounded to whole pixels (`_coco_segmentation_to_mask`)",
        ),
    ),
    Library(
        "datumaro, whole folder",
        "datumaro",
        "datumaro",
        ("datumaro>=1.13,<2", HEADLESS),
        Limits(masks=True, why="rounds points to two decimals (`Polygon`)"),
    ),
    Library(
        "Ultralytics, converter",
        "ultralytics",
        "ultralytics",
        ("ultralytics>=8.4,<9", "faster-coco-eval>=1.8,<2", "torch<2.14", "torchvision<0.29", HEADLESS),
        Limits(
            crowds=True,
            masks=True,
            why="leaves out crowds, makes one outline of several, six digits (`convert_coco`)",
        ),
    ),
    Library(
        "Albumentations",
        "albumentations",
        "albumentations",
        ("albumentations>=2.0.8,<3", "pillow>=11,<14", "pycocotools>=2.0.8,<3", HEADLESS),
        Limits(why="has no crowds of its own"),
    ),
    Library(
        "sahi",
        "sahi",
        "sahi",
        ("sahi>=0.12,<1", HEADLESS),
        Limits(
            crowd_masks=True,
            boxes=True,
            masks=True,
            why="whole pixels, no RLE, the box is that of the outline (`CocoAnnotation`)",
        ),
    ),
)
