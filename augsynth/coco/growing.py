"""A document whose new images are written one after the other: however many there are, none of them is held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from augsynth.coco.faults import Record
from augsynth.coco.json_lines import Lines, Written, record_encoder, write_json
from augsynth.coco.writer import keypoint_numbers, solid, with_keypoints


class NewRecords(NamedTuple):
    """Some new images with their annotations, checked and in their JSON form."""

    images: list[bytes]
    annotations: list[bytes]


class GrowingDocument:
    """The new images and annotations of a dataset, on their way into its document and into one of their own.

    Args:
        source_document: What they are added to.
        folder: Where there is room for files without a name.
    """

    def __init__(self, source_document: Mapping[str, Any], folder: Path) -> None:
        self._source = source_document
        self._images, self._annotations = Lines(folder), Lines(folder)
        self._names = {record["file_name"] for record in source_document["images"]}
        self._categories = {record["id"] for record in source_document["categories"]}
        self._keypoints = keypoint_numbers(source_document)
        self._encode = record_encoder()

    def encode(self, new: Iterable[tuple[Record, Sequence[Record]]], *, after: tuple[int, int]) -> NewRecords:
        """Return images and the annotations of each in their JSON form; nothing is added, so any process may do it.

        In a keypoint file new objects get keypoints that aren't labelled.

        Args:
            new: In the order of their ids.
            after: Image id and annotation id that must be below all of them.

        Raises:
            ValueError: An id isn't above those of the images before; an annotation names another image or an unknown
                category; or the image has the file name of one of the source.
        """
        (last_image, last_annotation), encode = after, self._encode
        images, lines = list[bytes](), list[bytes]()
        for image, objects in new:
            image_id = image["id"]
            if image_id <= last_image:
                raise ValueError(f"image id {image_id} must be new and at least {last_image + 1}")
            if image["file_name"] in self._names:
                raise ValueError(f"file_name {image['file_name']!r} is taken by another image")
            numbers = {record["id"] for record in objects}
            if len(numbers) < len(objects) or min(numbers, default=2**63) <= last_annotation:
                raise ValueError(f"annotation ids of image {image_id} must be new and differ")
            for record in objects:
                if record["image_id"] != image_id or record["category_id"] not in self._categories:
                    raise ValueError(f"annotation {record['id']} names an unknown image or category")
            last_image, last_annotation = image_id, max(numbers, default=last_annotation)
            images.append(encode(image))
            lines += map(encode, with_keypoints(self._keypoints, objects))
        return NewRecords(images, lines)

    def add(self, new: NewRecords) -> None:
        """Add images and their annotations, in the order of their ids; forked processes may, one at a time.

        Raises:
            OutputError: There is no room.
        """
        self._images.add(new.images)
        self._annotations.add(new.annotations)

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
