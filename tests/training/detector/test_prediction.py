"""Predictions over a dataset: what fusion says of two real detectors, and figures that pycocotools finds again."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.torch import load_file, save_file

import augsynth
from augsynth.affinity.focus import read_missing
from augsynth.core.boxes import ious
from augsynth.core.errors import BackendError, ConfigError, DatasetError
from augsynth.detectors.loading import EMBEDDED_DETECTOR
from augsynth.sample import write_sample
from augsynth.training.detector.prediction import MIN_SCORE

SHAKEN = 0.2  # of a layer's own spread


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Twelve images; ids fall while file order rises, and one category has no object."""
    path = write_sample(tmp_path_factory.mktemp("sample"), num_images=12, seed=3, workers=1)
    document = json.loads(path.read_text())
    for record in document["images"]:
        record["id"] = 1000 - record["id"]
    for record in document["annotations"]:
        record["image_id"] = 1000 - record["image_id"]
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """The embedded detector with its weights shaken: it agrees with it often, not always."""
    folder = tmp_path_factory.mktemp("second") / "detector"
    shutil.copytree(EMBEDDED_DETECTOR, folder)
    weights, draw = load_file(folder / "model.safetensors"), torch.Generator().manual_seed(0)
    for name, values in weights.items():
        if name.endswith("weight") and values.ndim == 4:
            weights[name] = values + SHAKEN * values.float().std() * torch.randn(values.shape, generator=draw)
    save_file(weights, folder / "model.safetensors")
    return folder


def evaluated(annotations, results):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        judge = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    curves = judge.eval["precision"][:, :, :, 0, -1]
    names = [truth.cats[c]["name"] for c in judge.params.catIds]
    by_category = {n: curves[:, :, k] for k, n in enumerate(names) if (curves[:, :, k] >= 0).all()}
    return judge.stats, by_category


def test_pycocotools_finds_the_same_figures_in_the_written_file(sample, tmp_path):
    found = augsynth.predict(sample, detector="embedded")
    results, evaluation = found.write(tmp_path / "out")
    stats, curves = evaluated(sample, results)
    assert found.evaluation.ap > 0.3
    assert (found.evaluation.ap, found.evaluation.ap50) == (stats[0], stats[1])
    assert found.evaluation.category_ap == {name: c.mean() for name, c in curves.items()}
    assert found.evaluation.category_ap50 == {name: c[0].mean() for name, c in curves.items()}
    written = json.loads(evaluation.read_text())
    assert written["ap"] == round(stats[0], 4) and written["detector"] == "embedded"
    missing = read_missing(evaluation, found.dataset.categories)
    names = {c.id: c.name for c in found.dataset.categories}
    for category_id, value in missing.items():
        if names[category_id] in curves:
            assert value == pytest.approx(max(0.05, 1 - curves[names[category_id]][0].mean()), abs=1e-4)


def alone_or_paired(one, other):
    """Yield what fusion must make of boxes of `one` that overlap nothing else, and of those with one partner."""
    pool = [np.concatenate(each) for each in zip(*map(fields, (one, other)), strict=True)]
    for box, score, category in zip(*fields(one), strict=True):
        near = np.flatnonzero((pool[2] == category) & (ious(box[None], pool[0])[0] > 0.1))
        if len(near) == 1:
            yield box, score / 2, category, False
        elif len(near) == 2 and near[1] >= len(one) and ious(*pool[0][near][:, None])[0, 0] > 0.8:
            scores = pool[1][near]
            yield scores @ pool[0][near] / scores.sum(), scores.mean(), category, True


def fields(found):
    return found.boxes_xyxy, found.scores, found.category_ids


def test_two_detectors_are_fused_as_the_formula_says(sample, second):
    """The mean score, 0 where one saw nothing; boxes averaged by score."""
    one, other = (augsynth.predict(sample, detector=model).found for model in (EMBEDDED_DETECTOR, second))
    both = augsynth.predict(sample, detector=f"{EMBEDDED_DETECTOR},{second}")
    assert both.detector == f"{EMBEDDED_DETECTOR}, {second}"
    seen = {True: 0, False: 0}
    for first, last, fused in zip(one, other, both.found, strict=True):
        for box, score, category, paired in alone_or_paired(first, last):
            if score < MIN_SCORE + 1e-4:
                continue
            same = (fused.category_ids == category) & (np.abs(fused.scores - score) < 2e-4)
            assert (same & (np.abs(fused.boxes_xyxy - box).max(1) < 0.05)).any()
            seen[paired] += 1
    assert min(seen.values()) >= 50, seen


def test_without_annotated_objects_nothing_is_judged(sample, tmp_path):
    document = json.loads(sample.read_text())
    document["annotations"] = []
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(document))
    found = augsynth.predict(bare, sample.parents[1] / "images", detector="embedded")
    assert found.evaluation is None
    [results] = found.write(tmp_path / "out")
    rows = json.loads(results.read_text())
    assert rows == found.rows()
    assert {row["image_id"] for row in rows} <= {image["id"] for image in document["images"]}
    assert all(set(row) == {"image_id", "category_id", "bbox", "score"} for row in rows)


def test_what_cannot_be_used_is_said_in_one_line(sample, tmp_path):
    document = json.loads(sample.read_text())
    document["categories"][0]["name"] = "zeppelin"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="zeppelin"):
        augsynth.predict(other, sample.parents[1] / "images", detector="embedded")
    with pytest.raises(BackendError, match="no/such"):
        augsynth.predict(sample, detector="no/such/folder/here")
    with pytest.raises(ConfigError, match="each detector once"):
        augsynth.predict(sample, detector="embedded,embedded")
    with pytest.raises(DatasetError):
        augsynth.predict(tmp_path / "none.json", detector="embedded")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    found = augsynth.predict(sample, detector="embedded")
    with pytest.raises(ConfigError, match="isn't an empty folder"):
        found.write(tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes"]
