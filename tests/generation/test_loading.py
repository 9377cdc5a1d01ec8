"""What a run loads: the defaults of models, names that must be known, and who finds masks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from augsynth.core.errors import ConfigError
from augsynth.generation.config import GenerateConfig
from augsynth.generation.loading import (
    OWN_DATA_DETECTOR,
    OWN_DATA_MODEL,
    open_dataset,
    open_outliner,
)
from augsynth.masking.sources import DetectorOutlines, MattingOutlines


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> GenerateConfig:
    """Two pictures, and no models named."""
    from PIL import Image

    root = tmp_path_factory.mktemp("own")
    Image.new("RGB", (64, 48)).save(root / "1.png")
    Image.new("RGB", (64, 48)).save(root / "2.png")
    boxes = [[2, 2, 12, 12], [30, 20, 20, 16]]
    document = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in (1, 2)],
        "annotations": [
            {"id": 10 * i + k, "image_id": i, "category_id": k, "bbox": box, "area": 100, "iscrowd": 0}
            for i in (1, 2)
            for k, box in enumerate(boxes, 1)
        ],
        "categories": [{"id": k, "name": name} for k, name in ((1, "cup"), (2, "lid"), (3, "never seen"))],
    }
    (root / "instances.json").write_text(json.dumps(document))
    return GenerateConfig.of(
        annotations=str(root / "instances.json"), images=str(root), out=str(root / "out")
    )


def test_models_that_are_not_named_are_those_for_own_data(own: GenerateConfig) -> None:
    config, dataset = open_dataset(own)
    assert (config.painting.model, config.filter_models.detector) == (OWN_DATA_MODEL, OWN_DATA_DETECTOR)
    assert len(dataset.scenes) == 2 and dataset.image_root == Path(str(own.data.images))
    named, _ = open_dataset(own.but(model="embedded", detector="mine"))
    assert (named.painting.model, named.filter_models.detector) == ("embedded", "mine")


def test_what_the_filter_does_not_ask_for_is_not_there(own: GenerateConfig) -> None:
    config, _ = open_dataset(own.but(filter="off", detector="mine", detector_revision="main"))
    models = config.filter_models
    assert (models.detector, models.detector_revision, models.classifier) == (None, None, None)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"categories": ["cup", "plate"]}, r"category 'plate' isn't in .*instances\.json; it has cup, lid, never seen"),
        ({"quotas": {"plate": 3}}, "category 'plate' isn't in"),
        ({"class_map": {"plate": ["dish"]}}, "category 'plate' isn't in"),
    ],
)  # fmt: skip
def test_names_must_be_those_of_the_dataset(own: GenerateConfig, values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_dataset(own.but(**values))


def test_replacing_needs_two_categories(own: GenerateConfig, tmp_path: Path) -> None:
    document = json.loads(Path(str(own.data.annotations)).read_text())
    document["categories"] = document["categories"][:1]
    document["annotations"] = [a for a in document["annotations"] if a["category_id"] == 1]
    (tmp_path / "one.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"needs two categories, .*one\.json has 1"):
        open_dataset(own.but(annotations=str(tmp_path / "one.json"), mode="replace"))


class Finder:
    """A detector with or without a mask head."""

    name, view_px = "finder", 64

    def __init__(self, *, has_masks: bool) -> None:
        self.has_masks = has_masks


@pytest.mark.parametrize(
    ("masks", "annotated", "finder", "kind"),
    [
        ("off", True, Finder(has_masks=True), None),
        ("auto", False, Finder(has_masks=True), None),
        ("auto", True, Finder(has_masks=True), DetectorOutlines),
        ("auto", True, Finder(has_masks=False), MattingOutlines),
        ("auto", True, None, MattingOutlines),
        ("matting", False, None, MattingOutlines),
        ("detector", False, Finder(has_masks=True), DetectorOutlines),
    ],
)
def test_masks_are_found_by_what_there_is(
    own: GenerateConfig, masks: str, annotated: bool, finder: Any, kind: type | None
) -> None:
    config, dataset = open_dataset(own.but(masks=masks))
    if annotated:
        records = [
            {**record, "segmentation": [[0, 0, 9, 0, 9, 9]]} for record in dataset.document["annotations"]
        ]
        dataset = replace(dataset, document={**dataset.document, "annotations": records})
    outliner = open_outliner(config, dataset, finder)
    assert outliner is None if kind is None else isinstance(outliner, kind)


@pytest.mark.parametrize(
    ("finder", "says"),
    [(None, "nothing is detected"), (Finder(has_masks=False), "finder has no mask head")],
)
def test_a_detector_without_masks_finds_none(own: GenerateConfig, finder: Any, says: str) -> None:
    config, dataset = open_dataset(own.but(masks="detector"))
    with pytest.raises(ConfigError, match=f"masks is 'detector', but {says}"):
        open_outliner(config, dataset, finder)
