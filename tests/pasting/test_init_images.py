"""Painting that starts from a real object: which is taken, where it lands, and what a run makes of it."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from augsynth.bank.cutting import CutRules
from augsynth.bank.reader import Bank
from augsynth.coco.reader import read_dataset
from augsynth.commands.bank import build_bank
from augsynth.core.errors import ConfigError
from augsynth.core.images import read_image
from augsynth.core.scene import Category, Dataset, Placement
from augsynth.generation.config import GenerateConfig
from augsynth.generation.run import generate
from augsynth.pasting.init_images import MAX_SCALE, MAX_USES, MIN_SCALE, InitImages, put, reference_picture
from augsynth.pasting.patch import Patch
from augsynth.placement.layout import Layout
from augsynth.placement.proposal import PlacementRules, propose
from augsynth.sample import write_sample


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    write_sample(root, num_images=30, seed=5, workers=1)
    annotations = root / "annotations" / "instances.json"
    assert build_bank(annotations, root / "images", root / "bank", rules=CutRules()).lines
    return root


@pytest.fixture(scope="module")
def dataset(source: Path) -> Dataset:
    return read_dataset(source / "annotations" / "instances.json", images=source / "images")


@pytest.fixture(scope="module")
def layout(dataset: Dataset) -> Layout:
    return Layout.fit(dataset)


@pytest.fixture(scope="module")
def init_images(source: Path, dataset: Dataset) -> InitImages:
    return InitImages.open(str(source / "bank"), dataset.categories)


def test_objects_are_used_in_turn_and_only_so_often(
    init_images: InitImages, dataset: Dataset, layout: Layout
) -> None:
    rng, scene = np.random.default_rng(0), dataset.scenes[0]
    category_id = min(init_images.members, key=lambda c: len(init_images.members[c]))
    positions = init_images.members[category_id]
    uses: Counter[int] = Counter()
    for _ in range(len(positions) * MAX_USES):
        start = init_images.choose(category_id, scene, layout, uses=uses, rng=rng)
        assert start is not None and init_images.bank.category_ids[start.position] == category_id
        uses[start.position] += 1
    assert set(uses.values()) == {MAX_USES} and uses.total() == init_images.quotas[category_id]
    assert init_images.choose(category_id, scene, layout, uses=uses, rng=rng) is None
    assert init_images.choose(9999, scene, layout, uses=uses, rng=rng) is None


def test_objects_with_an_outline_are_rather_taken(
    init_images: InitImages, dataset: Dataset, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other object has none, and none is found."""
    monkeypatch.setattr("augsynth.pasting.init_images.best_outline", lambda patch: patch)
    patches = {
        k: replace(p, has_mask=k % 2 == 0, other_ids=p.other_ids[:0]) for k, p in init_images.patches.items()
    }
    own, rng = InitImages(init_images.bank, init_images.members, patches), np.random.default_rng(0)
    category_id = max(own.members, key=lambda c: len(own.members[c]))
    assert 0.3 < np.mean(own.members[category_id] % 2) < 0.7
    starts = [own.choose(category_id, dataset.scenes[0], layout, uses=Counter(), rng=rng) for _ in range(100)]
    assert np.mean([start is not None and start.patch.has_mask for start in starts]) > 0.75
    bare = replace(own, patches={k: replace(p, has_mask=False) for k, p in patches.items()})
    assert bare.choose(category_id, dataset.scenes[0], layout, uses=Counter(), rng=rng) is not None


def test_a_place_has_the_shape_of_its_object(
    init_images: InitImages, dataset: Dataset, layout: Layout
) -> None:
    rng, found = np.random.default_rng(1), 0
    for scene in dataset.scenes[:6]:
        for category_id in sorted(init_images.members)[:4]:
            start = init_images.choose(category_id, scene, layout, uses=Counter(), rng=rng)
            assert start is not None
            place = propose(
                scene,
                None,
                category_id=category_id,
                layout=layout,
                appearance=None,
                rng=rng,
                rules=PlacementRules(),
                shape=start.shape,
            )
            if not isinstance(place, Placement):
                continue
            found += 1
            wh = place.box_xyxy[2:] - place.box_xyxy[:2]
            own = start.patch.box_xyxy[2:] - start.patch.box_xyxy[:2]
            assert np.log(wh[0] / wh[1]) == pytest.approx(np.log(own[0] / own[1]))
            assert MIN_SCALE - 1e-9 <= wh.max() / own.max() <= MAX_SCALE + 1e-9
    assert found > 12


def test_an_object_lands_in_its_box(init_images: InitImages, dataset: Dataset) -> None:
    image = read_image(dataset, dataset.scenes[0])
    start = next(p for p in map(init_images.outlined, init_images.patches) if p.has_mask)
    own = start.box_xyxy[2:] - start.box_xyxy[:2]
    box = np.concatenate([[100.0, 90.0], [100.0, 90.0] + 1.2 * own])
    there = put(image, start, box)
    assert np.abs(there.box_xyxy - box).max() < 3
    ys, xs = np.nonzero(there.shown)
    bounds = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    assert np.abs(bounds - there.box_xyxy).max() <= 1
    changed = (there.pixels != image).any(axis=2)
    low, high = np.floor(there.box_xyxy[:2]).astype(int) - 8, np.ceil(there.box_xyxy[2:]).astype(int) + 8
    changed[low[1] : high[1], low[0] : high[0]] = False
    assert not changed.any(), "nothing changes elsewhere"
    assert (put(image, start, box + 1000).pixels == image).all()


def test_a_reference_shows_the_object_alone() -> None:
    alpha = np.zeros((10, 20), np.uint8)
    alpha[2:8, 4:16] = 255
    patch = Patch(np.full((10, 20, 3), 250, np.uint8), alpha, np.array([4.0, 2, 16, 8]), True)
    picture = reference_picture(patch, size=40)
    assert picture.shape == (40, 40, 3)
    assert (picture[20, 20] == 250).all() and (picture[0, 0] == 128).all() and (picture[20, 1] == 128).all()
    assert abs(int((picture[..., 0] > 190).sum()) - 12 * 24) < 40


def test_a_bank_of_other_categories_is_refused(source: Path) -> None:
    with pytest.raises(ConfigError, match=r"other categories.*augsynth bank"):
        InitImages.open(str(source / "bank"), [Category(1, "submarine")])


def test_a_run_starts_from_real_objects_and_says_which(source: Path, tmp_path: Path) -> None:
    config = GenerateConfig.of(
        n=4,
        annotations=str(source / "annotations" / "instances.json"),
        images=str(source / "images"),
        out=str(tmp_path / "out"),
        model="embedded",
        detector="embedded",
        init_images=str(source / "bank"),
        gamma=0.0,
        persistence=0.0,
        steps=10,
        max_attempts=100,
    )
    tally = generate(config, progress=lambda stage, tally: None)
    assert tally.accepted == 4
    lines = [json.loads(line) for line in (tmp_path / "out" / "provenance.jsonl").read_text().splitlines()]
    bank = Bank.open(source / "bank")
    names = {c.id: c.name for c in bank.categories}
    painted = [line for line in lines if line.get("init_image") is not None]
    assert len(painted) >= 4
    for line in painted:
        assert bank.category_ids[line["init_image"]] == line["category_id"], names
        if line["reason"] == "accepted":
            assert line["box_xyxy"] == line["planned_xyxy"], "a box that is known is the label"
            assert line["mask"] == "bank", "and so is a mask"
    assert tally.yield_share > 0.5, "what starts from a real object is recognised"


def test_a_category_without_an_object_to_start_from_is_left_out(source: Path, tmp_path: Path) -> None:
    """Nothing is painted from noise beside it, by a model that may not know the pictures; and no model is asked for."""
    document = json.loads((source / "annotations" / "instances.json").read_text())
    kept = document["categories"][0]
    document["annotations"] = [a for a in document["annotations"] if a["category_id"] == kept["id"]]
    (tmp_path / "one.json").write_text(json.dumps(document))
    build_bank(tmp_path / "one.json", source / "images", tmp_path / "bank", rules=CutRules())
    config = GenerateConfig.of(
        n=2,
        annotations=str(source / "annotations" / "instances.json"),
        images=str(source / "images"),
        out=str(tmp_path / "out"),
        init_images=str(tmp_path / "bank"),
        filter="off",
    )
    tally = generate(config, progress=lambda stage, tally: None)
    (said,) = [notice for notice in tally.notices if "to start from" in notice or "left out" in notice]
    assert kept["name"] not in said and all(c["name"] in said for c in document["categories"][1:4])
    lines = [json.loads(line) for line in (tmp_path / "out" / "provenance.jsonl").read_text().splitlines()]
    assert {line["category_id"] for line in lines} == {kept["id"]}
    settings = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert (settings["model"], settings["strength"]) == ("embedded", 0.0)
    with pytest.raises(ConfigError, match="no whole object of a category that is to be painted"):
        other = document["categories"][1]["name"]
        generate(config.but(categories=(other,), out=str(tmp_path / "other")), progress=lambda *_: None)


def test_what_lies_in_the_box_of_an_object_comes_along_with_its_label(source: Path, tmp_path: Path) -> None:
    """As with AffinityPaste: without an outline the whole box is put, and what else it shows is an object, too."""
    document = json.loads((source / "annotations" / "instances.json").read_text())
    inner, outer = (document["categories"][k]["id"] for k in (0, 1))
    annotations, used = [], set()
    for a in document["annotations"]:
        x, y, w, h = a["bbox"]
        if a["image_id"] in used or min(w, h) < 20:
            continue
        used.add(a["image_id"])
        for category_id, part in ((outer, 1.0), (inner, 0.5)):
            box = [x + w * (1 - part) / 2, y + h * (1 - part) / 2, w * part, h * part]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": a["image_id"], "category_id": category_id, "bbox": box,
                 "area": box[2] * box[3], "iscrowd": 0}
            )  # fmt: skip
    document["annotations"] = annotations
    (tmp_path / "nested.json").write_text(json.dumps(document))
    build_bank(tmp_path / "nested.json", source / "images", tmp_path / "bank", rules=CutRules())
    categories = [Category(c["id"], c["name"]) for c in document["categories"]]
    mixed = InitImages.open(str(tmp_path / "bank"), categories)
    assert any(len(patch.other_ids) for patch in mixed.patches.values())
    alone = InitImages.open(str(tmp_path / "bank"), categories, alone=True)
    assert not any(len(patch.other_ids) for patch in alone.patches.values())
    config = GenerateConfig.of(
        n=4,
        annotations=str(tmp_path / "nested.json"),
        images=str(source / "images"),
        out=str(tmp_path / "out"),
        init_images=str(tmp_path / "bank"),
        filter="off",
        categories=(document["categories"][1]["name"],),
    )
    generate(config, progress=lambda stage, tally: None)
    made = json.loads((tmp_path / "out" / "annotations" / "instances_augmented.json").read_text())
    painted = [a for a in made["annotations"] if a.get("attributes", {}).get("synthetic")]
    along = [a for a in painted if a["attributes"].get("extra")]
    assert len(painted) - len(along) == 4 and along
    boxes = {a["id"]: a["bbox"] for a in painted}
    for a in along:
        assert a["category_id"] == inner
        x, y, w, h = a["bbox"]
        u, v, s, t = boxes[a["id"] - 1]
        assert u - 1 <= x and v - 1 <= y and x + w <= u + s + 1 and y + h <= v + t + 1, "inside of its object"
        assert w / s == pytest.approx(0.5, abs=0.12)


def test_long_names_that_begin_alike_do_not_matter_where_nothing_is_repainted(
    source: Path, tmp_path: Path
) -> None:
    document = json.loads((source / "annotations" / "instances.json").read_text())
    for category in document["categories"]:
        category["name"] = f"a very long beginning of the name of a {category['name']}"
    annotations = tmp_path / "renamed.json"
    annotations.write_text(json.dumps(document))
    build_bank(annotations, source / "images", tmp_path / "bank", rules=CutRules())
    config = GenerateConfig.of(
        annotations=str(annotations),
        images=str(source / "images"),
        init_images=str(tmp_path / "bank"),
        filter="off",
        masks="off",
        n=1,
        out=str(tmp_path / "out"),
    )
    assert generate(config, progress=lambda *_: None).accepted == 1
    with pytest.raises(ConfigError, match=r"share the word .*the model reads 16 tokens"):
        generate(config.but(strength=0.3, out=str(tmp_path / "more")), progress=lambda *_: None)
    assert not (tmp_path / "more").exists()
