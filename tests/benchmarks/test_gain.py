"""The gain benchmark: its cells, shares, figures and tables; its training parts where MMDetection is there."""

import json
import os
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from augsynth.sample import write_sample
from benchmarks.gain import sources, table
from benchmarks.gain.__main__ import main
from benchmarks.gain.arms import ARMS, LATER, Recipe, recipe_of, settings_of, with_settings
from benchmarks.gain.cells import Cell, claim, finish, merge, put_on_record, read_record, read_results
from benchmarks.gain.figures import judge

ROOT = Path(__file__).resolve().parents[2]
MANY_IMAGES = ["paste_prob=0.5", "paste_objects=3", "gamma=1", "paste_until=0.75"]  # as the configs paste


STARTED = {name for name, arm in ARMS.items() if arm.from_real}  # from real objects


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("gain")
    write_sample(root / "train", num_images=60, seed=3, workers=1)
    return sources.Source(
        "sample",
        (320, 240),
        root / "train" / "annotations" / "instances.json",
        root / "train" / "annotations" / "instances.json",
        root / "train" / "images",
        masks=True,
        from_above=False,
    )


def cell(**changes):
    base = Cell("sample", 0.05, "none", "yolox_nano", 0, {}, {"iterations": 10}, {})
    return replace(base, **changes)


def test_a_cell_is_known_by_all_that_it_depends_on():
    others = [
        cell(share=0.2),
        cell(arm="random"),
        cell(seed=1),
        cell(settings={"gamma": 1.0}),
        cell(schedule={"iterations": 11}),
        cell(models={"embedded": ["a"]}),
    ]
    assert len({c.key for c in [cell(), *others]}) == 7
    assert cell().key == cell().key


def test_only_settings_of_the_arm_change_its_cells():
    swept = with_settings(Recipe(), ["score_quantile=0.2", "copy_paste_prob=1"])
    changed = {k for k, arm in ARMS.items() if settings_of(arm, swept) != settings_of(arm, Recipe())}
    assert changed == {
        "copy_paste", "random", "affinity", "alignment", "augsynth", "unaligned", "paste_generated", "both",
        *STARTED,
    }  # fmt: skip
    stronger = with_settings(Recipe(), ["strength=0.4"])
    changed = {k for k, arm in ARMS.items() if settings_of(arm, stronger) != settings_of(arm, Recipe())}
    assert changed == STARTED
    assert recipe_of(ARMS["augsynth"], ["gamma=1"]) == replace(Recipe(), gamma=1.0)
    assert recipe_of(ARMS["settled"], ["max_new=7"]) == replace(
        Recipe(), new_per_image=20.0, objects_per_image=6, max_new=7
    )
    with pytest.raises(SystemExit, match="key among"):
        with_settings(Recipe(), ["nothing=1"])
    with pytest.raises(SystemExit, match="is no float"):
        with_settings(Recipe(), ["gamma=much"])


def test_a_folder_is_claimed_once_and_results_are_read_back(tmp_path):
    folder = cell().folder(tmp_path)
    with claim(folder) as first, claim(folder) as second:
        assert first
        assert not second
    with claim(folder) as again:
        assert again
        finish(cell(), tmp_path, {"figures": {"ap": 0.5}, "seconds": 1.0})
    assert cell().is_done(tmp_path)
    assert not cell(seed=1).is_done(tmp_path)
    assert read_results(tmp_path)[0]["figures"] == {"ap": 0.5}


def test_a_share_holds_every_category_and_nothing_else(source, tmp_path):
    path = sources.take_share(source, 0.3, 5, work=tmp_path)
    document = json.loads(path.read_text())
    assert len(document["images"]) == 18
    ids = {image["id"] for image in document["images"]}
    assert {a["image_id"] for a in document["annotations"]} <= ids
    counts = Counter(a["category_id"] for a in document["annotations"])
    assert min(counts[c["id"]] for c in document["categories"]) >= sources.SEEN_AT_LEAST
    assert sources.take_share(source, 0.3, 5, work=tmp_path / "other").read_bytes() == path.read_bytes()
    assert sources.take_share(source, 0.3, 6, work=tmp_path).read_bytes() != path.read_bytes()
    assert sources.take_share(source, 1.0, 5, work=tmp_path) == source.train
    with pytest.raises(SystemExit, match="every category"):
        sources.take_share(source, 0.01, 5, work=tmp_path)


def write_photographs(root, sizes_wh, polygons):
    """Write a photographic set: one object of a quarter of the picture, in its middle, in every picture."""
    for part in ("train", "valid", "test"):
        (root / part).mkdir(parents=True)
        images, annotations = [], []
        for i, (w, h) in enumerate(sizes_wh, start=1):
            PilImage.new("RGB", (w, h), (40 * i, 90, 20)).save(root / part / f"{part}_{i}.jpg")
            images.append({"id": i, "file_name": f"{part}_{i}.jpg", "width": w, "height": h})
            box = [w / 4, h / 4, w / 2, h / 2]
            corners = [[w / 4, h / 4, 3 * w / 4, h / 4, 3 * w / 4, 3 * h / 4]] if polygons else None
            annotations.append({"id": i, "image_id": i, "category_id": 1, "bbox": box, "area": w * h / 8})
            annotations[-1] |= {"segmentation": corners} if polygons else {}
        categories = [{"id": 1, "name": "thing"}]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"instances_{part}.json").write_text(json.dumps(document))


@pytest.mark.parametrize("name", ["aquarium", "car_damage"])
def test_pictures_of_any_size_keep_their_aspect(tmp_path, name):
    """The object stays in the middle of its picture, and its polygon with it."""
    side = sources.PHOTOGRAPHS[name].size_wh[0]
    write_photographs(
        tmp_path / name, [(480, 640), (640, 480), (500, 500), (64, 128)], sources.PHOTOGRAPHS[name].masks
    )
    source = sources.prepare(name, data=tmp_path, work=tmp_path / "work")
    assert source.masks == (name == "car_damage") and not source.from_above
    document = json.loads(source.train.read_text())
    sizes = [(i["width"], i["height"]) for i in document["images"]]
    assert sizes == [(side * 3 // 4, side), (side, side * 3 // 4), (side, side), (side // 2, side)]
    assert len(json.loads(source.test.read_text())["images"]) == 8
    for image, annotation in zip(document["images"], document["annotations"], strict=True):
        with PilImage.open(source.images / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
        w, h = image["width"], image["height"]
        assert annotation["bbox"] == pytest.approx([w / 4, h / 4, w / 2, h / 2])
        assert annotation["area"] == pytest.approx(w * h / 8 if source.masks else w * h / 4)
        if source.masks:
            corners = [w / 4, h / 4, 3 * w / 4, h / 4, 3 * w / 4, 3 * h / 4]
            assert annotation["segmentation"][0] == pytest.approx(corners)
        else:
            assert "segmentation" not in annotation


def found_from(document, shift=0.0, score=1.0):
    labels = {c["id"]: k for k, c in enumerate(document["categories"])}
    boxes = np.array([a["bbox"] for a in document["annotations"]], np.float32)
    boxes[:, 0] += shift * boxes[:, 2]
    boxes[:, 2:] += boxes[:, :2]
    return {
        "image_ids": np.array([a["image_id"] for a in document["annotations"]]),
        "boxes_xyxy": boxes,
        "scores": np.full(len(boxes), score, np.float32),
        "labels": np.array([labels[a["category_id"]] for a in document["annotations"]]),
    }


def test_figures_of_right_and_wrong_detections(source):
    document = json.loads(source.test.read_text())
    rare = sources.rare_categories(source)
    assert "battery" in rare and "can" not in rare
    right = judge(source.test, found_from(document), rare=rare)
    assert right["ap"] == pytest.approx(1)
    assert right["rare_ap50"] == pytest.approx(1)
    assert right["calibration"] == pytest.approx(0, abs=1e-6)
    assert judge(source.test, found_from(document, score=0.7), rare=rare)["calibration"] == pytest.approx(
        0.3, abs=1e-6
    )
    moved = judge(source.test, found_from(document, shift=0.2), rare=rare)
    assert moved["ap50"] == pytest.approx(1, abs=0.01)
    assert moved["ap"] < 0.5
    wrong = judge(source.test, found_from(document, shift=3), rare=rare)
    assert wrong["ap50"] < 0.05
    assert wrong["calibration"] > 0.9
    nothing = {k: v[:0] for k, v in found_from(document).items()}
    assert judge(source.test, nothing, rare=rare)["ap"] == 0


def result(arm, seed, ap50):
    figures = {
        "ap": ap50 / 2, "ap50": ap50, "rare_ap": None, "rare_ap50": None, "calibration": 0.1,
        "category_ap": {"can": ap50 / 2}, "category_ap50": {"can": ap50},
    }  # fmt: skip
    made = {"seconds": 600.0, "date": f"2026-11-2{seed}", "machine": "x86_64, 2 cores"}
    return {"cell": vars(cell(arm=arm, seed=seed)), "figures": figures, **made}


def test_the_record_keeps_one_answer_to_each_question(tmp_path):
    path = tmp_path / "cells.jsonl"
    assert read_record(path) == []
    put_on_record([result("none", 0, 0.3), result("none", 1, 0.4)], path)
    newer = result("none", 1, 0.5)
    newer["cell"] |= {"schedule": {"iterations": 10, "design": "another"}, "models": {"embedded": ["b"]}}
    longer = result("none", 1, 0.6)
    longer["cell"] |= {"schedule": {"iterations": 20}}
    put_on_record([newer, longer], path)
    assert [r["figures"]["ap50"] for r in read_record(path)] == [0.3, 0.5, 0.6]
    assert merge(read_record(path)) == read_record(path)
    assert Cell(**read_record(path)[0]["cell"]).key == cell().key


def test_what_is_on_record_is_whole():
    rows = read_record()
    assert rows
    assert merge(rows) == rows
    for row in rows:
        cell = Cell(**row["cell"])
        assert cell.settings.keys() | LATER.keys() >= set(ARMS[cell.arm].depends_on()) >= cell.settings.keys()
        assert 0 < row["figures"]["ap"] <= row["figures"]["ap50"] <= 1


def test_the_table_pairs_seeds(tmp_path):
    results = [result("none", s, 0.3 + 0.1 * s) for s in range(3)]
    results += [result("augsynth", s, 0.35 + 0.1 * s) for s in range(3)]
    text = table.markdown(results)
    assert "| no augmentation | 3 | 40.0 ± 24.8 |" in text
    assert "| +5.0 ± 0.0 |" in text, "the spread between seeds is no spread of the gain"
    assert "+5.0" in table.per_category(results)
    assert "| 3 | 40.0 ± 24.8 | 45.0 ± 24.8 |" in table.summary(results)
    mean, half = table.interval([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert half == pytest.approx(2.0542, abs=1e-3)  # t(3, 0.975) = 3.1824, deviation 1.29099
    table.draw(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
    said = "6 cells, 1.0 hours of training and testing, 2026-11-20 to 2026-11-22; x86_64, 2 cores"
    assert table.expense(results) == said


@pytest.mark.parametrize(("values", "marks"), [([1.0, 2.0, 6.0], 3), ([4.0], 1), ([], 0)])
def test_every_seed_is_in_the_plot_and_one_alone_has_no_interval(values, marks):
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    table._draw_gain(axis, 2.0, values, "C0")
    seeds = [
        line.get_xdata().tolist()
        for line in axis.lines
        if line.get_marker() == "|" and line.get_markersize() == 9
    ]
    assert seeds == ([values] if values else []) and sum(map(len, seeds)) == marks
    ends = [bar.get_segments()[0][:, 0].tolist() for bar in axis.collections]
    mean, half = table.interval(values)
    assert ends == ([pytest.approx([mean - half, mean + half])] if marks > 1 else [])


@pytest.mark.parametrize(
    ("page", "options"),
    [
        ("docs/results.md", ["--summary", "--share", "0.05", "0.1", "0.2"]),
        ("docs/results.md", ["--summary", "--share", "1.0", "--set", *MANY_IMAGES]),
        ("benchmarks/README.md", ["--share", "0.05", "0.1", "0.2"]),
        ("benchmarks/README.md", ["--share", "1.0", "--set", *MANY_IMAGES]),
    ],
)
def test_the_tables_on_the_page_are_what_the_command_prints(page, options, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks.gain", "table", *options])
    main()
    lines = set(capsys.readouterr().out.splitlines())
    assert any(line.startswith("| ") for line in lines)
    assert lines <= set((ROOT / page).read_text("utf-8").splitlines())


@pytest.mark.mmdet_ops
def test_new_images_are_drawn_in_proportion_and_in_time():
    from benchmarks.gain.training import MixedSampler

    draws = list(islice(MixedSampler(range(30), num_real=10, ratio=0.25, until=2000, seed=1), 3000))
    new = np.array(draws) >= 10
    assert 0.21 < new[:2000].mean() < 0.29
    assert not new[2000:].any()
    counts = Counter(d for d in draws if d < 10)
    assert max(counts.values()) - min(counts.values()) <= 1, "every real image is seen equally often"
    plain = list(islice(MixedSampler(range(10), num_real=10, ratio=0.5, until=100, seed=1), 100))
    assert max(plain) == 9
    late = list(islice(MixedSampler(range(20), 8, 0.5, until=1000, seed=1, plain_from=60), 100))
    assert max(late[:60]) == 9 and min(late[60:]) == 10 and max(late[60:]) == 19
    assert {d % 10 >= 8 for d in late[60:]} == {False, True}


@pytest.mark.mmdet_ops
@pytest.mark.parametrize("name", ["yolox_nano", "faster_rcnn_nano"])
def test_batch_norms_get_their_statistics_back_and_compute_the_same(name):
    import torch
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import ConfigDict

    from benchmarks.gain.detectors import model_config, unfold_batch_norm
    from benchmarks.gain.training import MixedSampler  # noqa: F401  (imports what registers models)

    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(model_config(name, 3)))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.bias.normal_()
    picture = torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)
    batches = [{"inputs": [torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)] * 2} for _ in range(3)]
    model.eval()
    inputs = model.data_preprocessor({"inputs": [picture]}, False)["inputs"]
    with torch.no_grad():
        before = model.extract_feat(inputs)
        unfold_batch_norm(model, batches)
        after = model.extract_feat(inputs)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-3)
    assert model.backbone.stem.conv.bn.running_var.std() > 0.1


@pytest.mark.mmdet_ops
@pytest.mark.parametrize("name", ["rtmdet_tiny", "faster_rcnn_r50"])
def test_the_large_detectors_are_built_from_the_project_s_configs(name):
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import ConfigDict

    from benchmarks.gain.detectors import model_config

    register_all_modules()
    model = MODELS.build(ConfigDict(model_config(name, 3)))
    head = model.roi_head.bbox_head if name == "faster_rcnn_r50" else model.bbox_head
    assert head.num_classes == 3


def test_the_newest_of_several_answers_counts_whatever_its_folder_is_called(tmp_path):
    for name, seconds in (("b", 100), ("a", 200)):
        file = tmp_path / "cells" / name / "result.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"from": name}), "utf-8")
        os.utime(file, (seconds, seconds))
    assert [result["from"] for result in read_results(tmp_path)] == ["b", "a"]
