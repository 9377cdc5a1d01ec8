"""Writing Pascal VOC: Annotations, JPEGImages and ImageSets, as the devkit lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from augsynth.coco.faults import Record
from augsynth.coco.formats.parts import (
    Originals,
    Part,
    Written,
    box_inside,
    class_names,
    count_lost,
    is_crowd,
    outlines,
    own_names,
)
from augsynth.coco.formats.voc import LABEL_MAP
from augsynth.core.images import read_image, write_image
from augsynth.core.scene import Scene
from augsynth.core.text import printable

OWN = frozenset({"Annotations", "JPEGImages", "ImageSets", LABEL_MAP})
_JPEG = (".jpg", ".jpeg")


def write_voc(parts: Sequence[Part], draft: Path, *, masks: bool | None, originals: Originals) -> Written:
    """Write an XML file for each image, lists of the splits and of the classes, and place the images.

    Boxes are whole pixels counted from 1, as the devkit and its readers take them. Crowds become difficult objects,
    which VOC's evaluation leaves out, too. All images are .jpg, because readers of VOC ask for no other: pictures in
    other formats are written as JPEG.

    Args:
        parts: The splits.
        draft: Folder to fill.
        masks: Write outlines as <polygon>; None: where objects have them.
        originals: Link or copy images.
    """
    written = Written(Path())
    everything = [image for part in parts for image in part.document["images"]]
    stems = iter(own_names([{**r, "id": k} for k, r in enumerate(everything)], flat=True).values())
    lists = draft / "ImageSets" / "Main"
    for folder in (lists, draft / "Annotations"):
        folder.mkdir(parents=True)
    for part in parts:
        names = {c["id"]: c["name"] for c in part.document["categories"]}
        listed = []
        for image, records in part.objects():
            stem = Path(next(stems)).stem
            _place(part, image, draft / "JPEGImages" / f"{stem}.jpg", originals, written)
            root = _image_element(image, stem)
            for record in records:
                _add_object(root, record, image, names[record["category_id"]], masks, written)
            indent(root)
            (draft / "Annotations" / f"{stem}.xml").write_bytes(tostring(root, "utf-8") + b"\n")
            listed.append(stem)
        written.images += len(listed)
        text = "".join(stem + "\n" for stem in listed)
        (lists / f"{part.name or 'train'}.txt").write_text(text, encoding="utf-8", newline="\n")
    labels = "".join(f"{_plain(name)}:::\n" for name in class_names(parts))
    text = f"# label:color_rgb:parts:actions\n{labels}"  # as datumaro and CVAT read it
    (draft / LABEL_MAP).write_text(text, encoding="utf-8", newline="\n")
    return written


def _place(part: Part, image: Record, target: Path, originals: Originals, written: Written) -> None:
    source, root = part.files[image["id"]]
    if source.suffix.lower() in _JPEG:
        part.place(image, target, originals)
        return
    scene = Scene(image["id"], source.relative_to(root).as_posix(), (image["width"], image["height"]))
    write_image(target, read_image(root, scene))
    written.left_out["pictures that weren't JPEG, now written so"] += 1


def _image_element(image: Record, stem: str) -> Element:
    root = Element("annotation")
    SubElement(root, "folder").text = "VOC"
    SubElement(root, "filename").text = _plain(f"{stem}.jpg")
    SubElement(SubElement(root, "source"), "database").text = "augsynth"
    size = SubElement(root, "size")
    for name, value in (("width", image["width"]), ("height", image["height"]), ("depth", 3)):
        SubElement(size, name).text = str(value)
    SubElement(root, "segmented").text = "0"
    return root


def _add_object(
    root: Element, record: Record, image: Record, name: str, masks: bool | None, written: Written
) -> None:
    attributes = record.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    element = SubElement(root, "object")
    SubElement(element, "name").text = _plain(name)
    SubElement(element, "pose").text = _plain(str(attributes.get("pose", "Unspecified")))
    SubElement(element, "truncated").text = str(int(attributes.get("truncated") is True))
    SubElement(element, "difficult").text = str(int(is_crowd(record)))
    x1, y1, x2, y2 = box_inside(record, image)
    low = round(x1) + 1, round(y1) + 1
    low = min(low[0], image["width"]), min(low[1], image["height"])
    box = SubElement(element, "bndbox")
    for corner, value in zip(
        ("xmin", "ymin", "xmax", "ymax"), (*low, max(round(x2), low[0]), max(round(y2), low[1])), strict=True
    ):
        SubElement(box, corner).text = str(value)
    for polygon in outlines(record, image) if masks is not False else []:
        corners = SubElement(element, "polygon")
        for k in range(len(polygon) // 2):
            SubElement(corners, f"x{k + 1}").text = f"{polygon[2 * k] + 1:.3f}"
            SubElement(corners, f"y{k + 1}").text = f"{polygon[2 * k + 1] + 1:.3f}"
    written.objects += 1
    count_lost(record, written.left_out, kept=("masks",), attributes=("pose", "truncated"))


def _plain(text: str) -> str:
    """Return a text without characters that XML can't hold or that end a line: they are written out."""
    return printable(text).translate({0xFFFE: "\\ufffe", 0xFFFF: "\\uffff"})
