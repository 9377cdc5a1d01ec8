"""What a run depends on, and whose terms its models come with."""

from pathlib import Path

import pytest

from augsynth.generation.config import GenerateConfig
from augsynth.generation.loading import open_dataset
from augsynth.generation.provenance import (
    describe_models,
    detector_digest,
    fingerprint,
    licence_notices,
    weights_digest,
)


def test_what_paints_and_what_it_paints_on_is_in_the_fingerprint(config: GenerateConfig) -> None:
    filled, dataset = open_dataset(config)
    whole = fingerprint(filled, dataset)
    assert whole["model_sha256"] == weights_digest("embedded") and len(whole["source_sha256"]) == 64
    assert whole["detector_sha256"] == detector_digest("embedded")
    for free in ({"out": "elsewhere"}, {"device": "cuda"}, {"batch_size": 1}, {"mask_format": "rle"}):
        assert fingerprint(filled.but(**free), dataset) == whole
    for bound in ({"seed": 43}, {"steps": 9}, {"detector": "an/id"}, {"n": 10}):
        assert fingerprint(filled.but(**bound), dataset) != whole


def test_the_weights_of_a_folder_count_and_a_hub_id_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"one")
    first = weights_digest(str(tmp_path))
    (tmp_path / "readme.txt").write_text("no weights")
    assert weights_digest(str(tmp_path)) == first
    (tmp_path / "a.safetensors").write_bytes(b"two")
    assert weights_digest(str(tmp_path)) not in (first, None)
    assert weights_digest("some/id") is None and weights_digest(None) is None
    assert detector_digest(None) is None


def test_the_models_are_described(config: GenerateConfig) -> None:
    filled, _ = open_dataset(config)
    found = describe_models(filled)
    assert found["model"] == found["detector"] == "embedded" and found["lora"] is None
    assert not {"segmenter", "classifier"} & found.keys()
    assert describe_models(filled.but(filter="off", detector=None))["detector"] is None


@pytest.mark.parametrize(
    ("part", "verb"), [("model", "paints"), ("classifier", "chooses"), ("segmenter", "outlines")]
)
def test_a_licence_that_forbids_commerce_is_said(part: str, verb: str) -> None:
    models = {"model": "a", "model_licence": "apache-2.0", part: "b", f"{part}_licence": "cc-by-nc-4.0"}
    [line] = licence_notices(models)
    assert line.startswith("b is for non-commercial use only (cc-by-nc-4.0)") and verb in line
    assert licence_notices({"model": "a", "model_licence": None}) == []
