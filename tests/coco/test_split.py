"""Folds: every image once, groups together, categories even, records word for word, bad input in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from augsynth.cli import app
from augsynth.coco.reader import read_dataset
from augsynth.coco.split import assign_folds, group_images, split_dataset
from augsynth.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("common", "middling", "rare", "absent")


def document(num_images=120, seed=0):
    """Images of 24 places, five each; places differ in what they show, and one object in a hundred is rare."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for k in range(num_images):
        place = k // 5
        images.append(
            {
                "id": 1000 - k,
                "file_name": f"place{place:02d}/shot_{k:03d}.jpg",
                "width": 100,
                "height": 80,
                "place": place,
                "note": {"é": None},
            }
        )
        for category, rate in enumerate((4, 1 + place % 3, 0.15), start=1):
            for _ in range(rng.poisson(rate)):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": 1000 - k,
                        "category_id": 10 * category,
                        "bbox": [1, 2, 30.5, 40.25],
                        "area": 1227.6,
                        "iscrowd": 0,
                        "segmentation": [[1, 2, 31.5, 2, 31.5, 42.25]],
                        "weird": [1, {"x": "y"}],
                    }
                )
    return {
        "info": {"year": 2020},
        "licenses": [{"id": 1, "name": "CC0"}],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 10 * k, "name": name, "extra": k} for k, name in enumerate(NAMES, start=1)],
        "own_block": {"kept": True},
    }


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document()))
    return path


def places_of(dataset, split):
    folds = {}
    for scene, fold in zip(dataset.scenes, split.fold_of_image, strict=True):
        folds.setdefault(scene.file_name.split("/")[0], set()).add(int(fold))
    return folds


@pytest.mark.parametrize("rule", [{"group_pattern": r"^(place\d+)/"}, {"group_key": "place"}])
def test_groups_stay_together_and_categories_are_even(source, rule):
    dataset = read_dataset(source)
    split = split_dataset(dataset, num_folds=4, **rule)
    assert all(len(folds) == 1 for folds in places_of(dataset, split).values())
    assert split.num_groups.sum() == 24 and split.image_counts.sum() == 120 and split.alone == 0
    share = split.objects[:3] / split.objects[:3].sum(axis=1, keepdims=True)
    assert np.abs(share - 0.25).max() < 0.06
    assert np.abs(split.image_counts - 30).max() <= 5


def test_it_is_more_even_than_chance_and_than_a_single_label(source):
    from sklearn.model_selection import StratifiedGroupKFold

    dataset = read_dataset(source)
    split = split_dataset(dataset, num_folds=4, group_key="place")
    counts = np.stack([[np.sum(s.category_ids == 10 * c) for c in (1, 2, 3)] for s in dataset.scenes])

    def uneven(folds):
        held = np.stack([counts[folds == k].sum(axis=0) for k in range(4)]) / counts.sum(axis=0)
        return float(np.abs(held - 0.25).mean())

    groups, _ = group_images(dataset, group_pattern=None, group_key="place")
    rarest = np.where(counts[:, 2] > 0, 2, np.where(counts[:, 1] > 0, 1, 0))
    single = np.zeros(len(groups), int)
    folds = StratifiedGroupKFold(4, shuffle=True, random_state=42).split(groups, rarest, groups)
    for k, (_, held) in enumerate(folds):
        single[held] = k
    rng = np.random.default_rng(0)
    chance = np.mean([uneven(rng.permutation(24)[groups] % 4) for _ in range(20)])
    ours = uneven(split.fold_of_image)
    assert ours < 0.5 * chance
    assert ours <= uneven(single)


def test_without_groups_images_are_spread_and_records_of_one_file_are_one_image(tmp_path):
    source = document()
    source["images"][7]["file_name"] = source["images"][80]["file_name"]
    (tmp_path / "a.json").write_text(json.dumps(source))
    split = split_dataset(read_dataset(tmp_path / "a.json"), num_folds=5)
    assert split.image_counts.max() - split.image_counts.min() <= 1
    assert split.num_groups.sum() == 119
    assert np.abs(split.images[2] - split.images[2].mean()).max() <= 1


def test_the_seed_decides_and_nothing_else(source):
    dataset = read_dataset(source)
    first, again, other = (split_dataset(dataset, num_folds=3, seed=s).fold_of_image for s in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_images_without_a_group_are_counted_and_alone(source):
    dataset = read_dataset(source)
    split = split_dataset(dataset, num_folds=3, group_pattern=r"^place0\d")
    assert split.alone == 70 and split.num_groups.sum() == 10 + 70


@pytest.mark.parametrize("num_groups", [2, 3, 7])
def test_no_fold_is_empty(num_groups):
    rng = np.random.default_rng(num_groups)
    totals = np.column_stack([rng.integers(0, 3, (num_groups, 2)), np.ones(num_groups)])
    totals[0] = 100
    for num_folds in range(2, num_groups + 1):
        folds = assign_folds(totals, num_folds=num_folds, weights=np.ones(3), seed=0)
        assert set(folds.tolist()) == set(range(num_folds))


def test_the_files_hold_the_source_word_for_word(source, tmp_path):
    out = tmp_path / "folds"
    asked = ["split", "--annotations", str(source), "--out", str(out), "--folds", "3", "--group-key", "place"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    whole = document()
    names = {f"fold_{k}_{part}.json" for k in (1, 2, 3) for part in ("train", "val")} | {"split.json"}
    assert {p.name for p in out.iterdir()} == names
    seen = []
    manifest = json.loads((out / "split.json").read_text())
    for k in (1, 2, 3):
        train, val = (json.loads((out / f"fold_{k}_{part}.json").read_text()) for part in ("train", "val"))
        held = {r["id"] for r in val["images"]}
        assert sorted(held) == sorted(manifest["val_image_ids"][str(k)])
        for key in ("info", "licenses", "categories", "own_block"):
            assert train[key] == val[key] == whole[key]
        for part, wanted in ((train, False), (val, True)):
            assert part["images"] == [r for r in whole["images"] if (r["id"] in held) == wanted]
            assert part["annotations"] == [
                a for a in whole["annotations"] if (a["image_id"] in held) == wanted
            ]
        seen += held
    assert sorted(seen) == sorted(r["id"] for r in whole["images"])
    assert manifest["seed"] == 42 and manifest["group_key"] == "place"


def test_pycocotools_reads_the_folds_and_the_balance_is_printed(source, tmp_path, capsys):
    from pycocotools.coco import COCO

    out = tmp_path / "folds"
    result = CliRunner().invoke(
        app, ["split", "--annotations", str(source), "--out", str(out), "--folds", "4"]
    )
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    for k, name in enumerate(NAMES, start=1):
        counts = [len(COCO(str(out / f"fold_{f}_val.json")).getAnnIds(catIds=[10 * k])) for f in (1, 2, 3, 4)]
        row = next(line for line in lines if f" {name} " in line)
        cells = [cell.strip().split(" (")[0] for cell in row.strip("│ ").split("│")]
        assert [int(c.replace(",", "")) for c in cells[1:]] == [sum(counts), *counts]
    assert any("images" in line and "30 (25%)" in line for line in lines)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_folds": 1}, "must lie in [2, 120]"),
        ({"num_folds": 121}, "120 images"),
        ({"num_folds": 25, "group_key": "place"}, "24 groups of images"),
        ({"num_folds": 2, "group_key": "camera"}, "the keys are file_name"),
        ({"num_folds": 2, "group_pattern": "("}, "no regular expression"),
        ({"num_folds": 2, "group_pattern": "^x"}, "fits no file_name"),
        ({"num_folds": 2, "group_pattern": "x", "group_key": "y"}, "both given"),
    ],
)
def test_bad_options_say_what_to_do(source, options, words):
    with pytest.raises(ConfigError) as caught:
        split_dataset(read_dataset(source), **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_output_is_never_overwritten(source, tmp_path):
    (tmp_path / "folds").mkdir()
    (tmp_path / "folds" / "notes.txt").write_text("mine")
    for out in (tmp_path / "folds", source):
        refused = CliRunner().invoke(app, ["split", "--annotations", str(source), "--out", str(out)])
        assert isinstance(refused.exception, ConfigError)
        assert "choose another --out" in str(refused.exception)
    assert [p.name for p in (tmp_path / "folds").iterdir()] == ["notes.txt"]


def test_folds_of_aerial_photographs_keep_shots_together(tmp_path):
    path = ROOT.parent / "shared" / "data" / "aerial_maritime" / "instances_train.json"
    if not path.is_file():
        pytest.skip("the photographs of aerial_maritime aren't here")
    dataset = read_dataset(path)
    split = split_dataset(dataset, num_folds=5, group_pattern=r"^DJI_\d+")
    shots = {}
    for scene, fold in zip(dataset.scenes, split.fold_of_image, strict=True):
        shots.setdefault(scene.file_name[:8], set()).add(int(fold))
    assert len(shots) == 52 and all(len(folds) == 1 for folds in shots.values())
    share = split.objects / split.objects.sum(axis=1, keepdims=True)
    assert np.abs(share - 0.2).max() < 0.05
