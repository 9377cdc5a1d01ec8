"""Other libraries hold what the output says; `python -m benchmarks.consumers` asks those that aren't installed here."""

import copy
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augsynth.coco.json_lines import write_json
from augsynth.coco.writer import augmented_document, copied_annotation, next_ids, synthetic_annotation
from augsynth.generation.export import AUGMENTED
from augsynth.generation.run import Tally
from benchmarks.consumers.comparison import NO_LIMITS, Comparison, Limits, compare, has_masks
from benchmarks.consumers.libraries import LIBRARIES
from benchmarks.consumers.readers import own
from benchmarks.consumers.readers.shared import run_lengths
from tests.scenes import around

WIDTH, HEIGHT = 60, 44
READABLE = [one for one in LIBRARIES if not one.packages or one.reader == "faster_coco_eval"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A crowd, an outline of two parts, a hole, large ids, an empty box, an image without objects; a new one."""
    root = tmp_path_factory.mktemp("mixed")
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[5:30, 8:31] = True
    pixels[12:20, 12:20] = False
    parts = [[1.5, 1, 9, 1, 9, 8.25], [20, 20, 31, 20, 31, 33, 20, 33]]
    crowd = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * 20, HEIGHT * 10, HEIGHT * 30]}
    masks = [(parts, [1.5, 1, 29.5, 32]), (run_lengths(pixels), [8, 5, 23, 25]), (crowd, [20, 0, 10, HEIGHT])]
    square = [[0, 0, 4, 0, 4, 4, 0, 4]]
    annotations = [
        {"id": 900100433998 + k, "image_id": 7, "category_id": (90, 3)[k % 2], "bbox": bbox, "area": 60.0,
         "iscrowd": int(mask is crowd), "segmentation": mask}
        for k, (mask, bbox) in enumerate([*masks, (square, [5, 5, 0, 0])])
    ]  # fmt: skip
    images = [
        {"id": k, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for k, name in ((7, "sub/a.png"), (2, "b.png"))
    ]
    source = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 90, "name": "cup"}, {"id": 3, "name": "can"}],
    }
    image_id, number = next_ids(source)
    new = {**images[0], "id": image_id, "file_name": "augsynth/000000_a.png"}
    made = [
        copied_annotation(a, annotation_id=number + k, image_id=image_id, size_wh=(WIDTH, HEIGHT))
        for k, a in enumerate(annotations)
    ]
    made[-1] = synthetic_annotation(
        annotation_id=number + 3, image_id=image_id, category_id=3, box_xyxy=around(42.3, 20.2, 11),
        size_wh=(WIDTH, HEIGHT), score=0.9, segmentation=[[37.5, 15.5, 47.5, 15.5, 47.5, 25.5, 37.5, 25.5]],
    )  # fmt: skip
    path = root / AUGMENTED
    path.parent.mkdir(parents=True)
    write_json(path, augmented_document(source, [new], made))
    for record in (*images, new):
        (root / "images" / record["file_name"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images" / record["file_name"])
    return path, root / "images"


@pytest.mark.parametrize("library", READABLE, ids=lambda one: one.reader)
@pytest.mark.parametrize("which", ["run", "mixed"])
def test_a_library_holds_every_object_box_and_mask(which, library, request) -> None:
    if library.packages:
        pytest.importorskip(library.reader, reason=f"needs {library.distribution}")
    given = request.getfixturevalue(which)
    path, images = (given[0] / AUGMENTED, given[0] / "images") if which == "run" else given
    reader = importlib.import_module(f"benchmarks.consumers.readers.{library.reader}")
    assert has_masks(path)
    held, figures = reader.read(path, images, masks=True)
    result = compare(path, held, library.limits)
    assert result.faults == []
    crowds = sum(a["iscrowd"] for a in json.loads(path.read_text())["annotations"])
    kept = len(json.loads(path.read_text())["annotations"]) - crowds * library.limits.crowds
    assert result.objects == result.boxes == result.masks == kept and result.ious == []
    assert [v for kind, v in figures.items() if kind.startswith("AP")] in ([], [1.0, 1.0])


@pytest.fixture(scope="module")
def held(mixed):
    return own.read(*mixed, masks=True)[0]


def changed(held, change) -> list:
    images = copy.deepcopy(held)
    change(images)
    return images


CHANGES = {
    "an image is lost": (lambda images: images.pop(1), "images: 2 of 3"),
    "an image twice": (lambda images: images.append(images[1]), "images: 3 of 3, 4 held"),
    "an object is lost": (lambda images: images[0]["objects"].pop(), "sub/a.png: 2 objects instead of 3"),
    "another id": (lambda images: images[0]["objects"][0].update(id=5), "id 5"),
    "another category": (lambda images: images[0]["objects"][0].update(category="can"), "can instead of cup"),
    "no crowd": (lambda images: images[0]["objects"][2].update(crowd=False), "crowd False"),
    "a box moved": (lambda images: images[0]["objects"][1].update(box_xyxy=[8, 5, 31, 30.1]), "box [8, 5"),
    "no mask": (lambda images: images[0]["objects"][1].update(mask=None), "no mask"),
    "another's mask": (
        lambda images: images[0]["objects"][1].update(mask=images[0]["objects"][0]["mask"]),
        "mask of IoU 0.",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_comparison_finds_what_differs(change, mixed, held) -> None:
    assert compare(mixed[0], held, NO_LIMITS).faults == []
    spoil, said = CHANGES[change]
    faults = compare(mixed[0], changed(held, spoil), NO_LIMITS).faults
    assert any(said in fault for fault in faults), faults


def test_known_limits_are_no_faults_but_bad_masks_are(mixed, held) -> None:
    def redraw(images) -> None:
        parts = [[1, 1, 9, 1, 9, 8], [20, 20, 31, 20, 31, 32, 20, 32]]
        images[0]["objects"][0].update(mask=parts, box_xyxy=[1, 1, 31, 32])
        images[0]["objects"][2].update(mask=None)

    images = changed(held, redraw)
    limits = Limits(crowd_masks=True, boxes=True, masks=True)
    result: Comparison = compare(mixed[0], images, limits)
    assert result.faults == [] and (result.boxes, result.masks, result.expected_masks) == (6, 4, 5)
    assert result.ious == [pytest.approx(0.92, abs=0.03)]
    poor = changed(images, lambda found: found[0]["objects"][0].update(mask=[[20, 20, 24, 20, 24, 24]]))
    assert any(fault.startswith("masks: mean IoU 0.") for fault in compare(mixed[0], poor, limits).faults)


def test_a_file_where_only_some_objects_have_masks_is_refused(mixed, tmp_path) -> None:
    document = json.loads(mixed[0].read_text())
    del document["annotations"][0]["segmentation"]
    write_json(tmp_path / "a.json", document)
    with pytest.raises(ValueError, match="some objects have masks and some have none"):
        has_masks(tmp_path / "a.json")


def test_the_run_has_new_objects(run: tuple[Path, Tally]) -> None:
    document = json.loads((run[0] / AUGMENTED).read_text())
    assert sum("attributes" in a and a["attributes"]["synthetic"] for a in document["annotations"]) == 9
