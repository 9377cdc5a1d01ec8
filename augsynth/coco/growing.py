"""A document whose new images are written one after the other: however many there are, none of them is held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from augsynth.coco.writer import Lines, Written, keypoint_numbers, next_ids, solid, with_keypoints, write_json


class GrowingDocument:
    """The new images and annotations of a dataset, on their way into its document and into one of their own.

    Args:
        source_document: What they are added to.
        folder: Where there is room for files without a name.
    """

    def __init__(self, source_document: Mapping[str, Any], folder: Path) -> None:
        self._source = source_document
        self._images, self._annotations = Lines(folder), Lines(folder)
        self._last_image, self._last_annotation = (first - 1 for first in next_ids(source_document))
        self._names = {record["file_name"] for record in source_document["images"]}
        self._categories = {record["id"] for record in source_document["categories"]}
        self._keypoints = keypoint_numbers(source_document)

    def add(self, image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> None:
        """Add an image with its annotations; in a keypoint file new objects get keypoints that aren't labelled.

        Raises:
            OutputError: There is no room.
            ValueError: An id is the source's, or isn't above those of the images before; an annotation names another
                image or an unknown category; or the image has the file name of one of the source.
        """
        if image["id"] <= self._last_image:
            raise ValueError(f"image id {image['id']} must be new and at least {self._last_image + 1}")
        if image["file_name"] in self._names:
            raise ValueError(f"file_name {image['file_name']!r} is taken by another image")
        numbers = {record["id"] for record in annotations}
        if len(numbers) < len(annotations) or min(numbers, default=2**63) <= self._last_annotation:
            raise ValueError(f"annotation ids of image {image['id']} must be new and differ")
        for record in annotations:
            if record["image_id"] != image["id"] or record["category_id"] not in self._categories:
                raise ValueError(f"annotation {record['id']} names an unknown image or category")
        self._last_image = image["id"]
        self._last_annotation = max(numbers, default=self._last_annotation)
        self._images.add(image)
        for record in with_keypoints(self._keypoints, annotations):
            self._annotations.add(record)

    def write(self, *, synthetic: Path, augmented: Path) -> None:
        """Write the document of the new images alone, and that of the source with them.

        They are those of `synthetic_document` and `augmented_document`, byte for byte.
        """
        source = self._source
        alone = {"images": Written([], self._images), "annotations": Written([], self._annotations)}
        write_json(synthetic, {**source, **alone})
        whole = {
            "images": Written(source["images"], self._images),
            "annotations": Written(solid(source), self._annotations),
        }
        write_json(augmented, {**source, **whole})
