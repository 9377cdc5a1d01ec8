"""The JSON document of a COCO file: decoded whole, and refused where it is none."""

from __future__ import annotations

from pathlib import Path

import msgspec

from augsynth.coco.faults import Record, fault, kind_of
from augsynth.core.images import read_plain


def decode_document(path: Path) -> Record:
    """Return the object in a COCO file: lists of images, annotations and categories, each of objects.

    Raises:
        DatasetError: The file can't be read, isn't JSON, isn't a COCO file, or lists no images or categories.
    """
    try:
        data = read_plain(path)
    except OSError as error:
        raise fault(path, "", "annotations", f"can't be read ({error.strerror})", "check the path") from None
    try:
        document = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as error:
        remedy = "export it again (NaN and Infinity aren't JSON, and the text must be UTF-8)"
        raise fault(path, "", "annotations", f"isn't JSON: {error}", remedy) from None
    wanted = "give a COCO instances file, an object with images, annotations and categories"
    if isinstance(document, list):
        results = bool(document) and isinstance(document[0], dict) and "score" in document[0]
        problem = "is a list" + (" of detection results" if results else "") + ", not a COCO object"
        raise fault(path, "", "document", problem, wanted)
    if not isinstance(document, dict):
        raise fault(path, "", "document", f"is a {kind_of(document)}, not a COCO object", wanted)
    for key in ("images", "annotations", "categories"):
        if key not in document:
            present = ", ".join(list(document)[:8]) or "nothing"
            raise fault(path, "", key, f"is missing, the file has {present}", wanted)
        if not isinstance(document[key], list):
            raise fault(path, "", key, f"is a {kind_of(document[key])}, not a list", wanted)
        for index, record in enumerate(document[key]):
            if type(record) is not dict:
                raise fault(
                    path, f"{key}[{index}]", "record", f"is a {kind_of(record)}, not an object", wanted
                )
    for key in ("images", "categories"):
        if not document[key]:
            raise fault(path, "", key, "is empty", f"list the {key} of the dataset")
    return document
