"""The rendered sample: determinism, COCO validity, and the world that its ground truth states."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augsynth.affinity.model import Affinity
from augsynth.core.errors import ConfigError, DatasetError
from augsynth.core.scene import Dataset, Scene
from augsynth.sample import CATEGORIES, RenderedScene, ground_truth, render_scene, write_sample
from augsynth.sample.arrange import arrange
from augsynth.sample.world import GROUPS, MIN_VISIBILITY, RELATIONS, REPELLED, SIZE_WH, STRAY_WEIGHTS

NAMES = {c.id: c.name for c in CATEGORIES}
RARE = ("jar", "tube", "lighter", "glove", "bulb")


@pytest.fixture(scope="module")
def scenes() -> list[RenderedScene]:
    return [render_scene(7, i) for i in range(110)]


@pytest.fixture(scope="module")
def arranged(scenes: list[RenderedScene]) -> list[tuple[str, list[str]]]:
    """Group and category names of 1200 scenes, laid out on the grounds of the drawn ones but not drawn."""
    rows = []
    for i in range(1200):
        scene = scenes[i % len(scenes)]
        group, items = arrange(scene.background, scene.forbidden, np.random.default_rng([11, i]))
        rows.append((group, [item.category for item in items]))
    return rows


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sample") / "set", num_images=20, seed=3, workers=1)


def names_of(scene: RenderedScene) -> list[str]:
    return [NAMES[int(c)] for c in scene.category_ids]


def test_same_seed_and_index_give_the_same_scene_and_others_do_not() -> None:
    first, again = render_scene(5, 9), render_scene(5, 9)
    assert (first.image == again.image).all() and (first.masks == again.masks).all()
    assert first.items == again.items
    assert (first.image != render_scene(5, 10).image).mean() > 0.5
    assert (first.image != render_scene(6, 9).image).mean() > 0.5


def test_variety_changes_the_camera_only_and_is_checked() -> None:
    calm, full = render_scene(5, 9, variety=0.0), render_scene(5, 9)
    assert (calm.boxes_xyxy == full.boxes_xyxy).all() and (calm.image != full.image).any()
    with pytest.raises(ValueError, match="variety"):
        render_scene(5, 9, variety=1.5)


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    for workers in (1, 2):
        write_sample(tmp_path / str(workers), num_images=20, seed=3, workers=workers)
    files = sorted(p.relative_to(tmp_path / "1") for p in (tmp_path / "1").rglob("*") if p.is_file())
    assert len(files) == 22
    for file in files:
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes(), file


def test_index_ranges_of_one_seed_join_up(tmp_path: Path, written: Path) -> None:
    write_sample(tmp_path / "tail", num_images=2, seed=3, first_index=18, workers=1)
    for index in (18, 19):
        name = f"images/scene_{index:06d}.jpg"
        assert (tmp_path / "tail" / name).read_bytes() == (written.parents[1] / name).read_bytes()


def test_pycocotools_reads_it_and_masks_fit_boxes_and_areas(written: Path) -> None:
    from pycocotools.coco import COCO

    with redirect_stdout(io.StringIO()):
        coco = COCO(str(written))
    assert sorted(coco.cats) == list(range(1, 14))
    assert sorted(coco.anns) == list(range(1, len(coco.anns) + 1))
    for image in coco.imgs.values():
        with Image.open(written.parents[1] / "images" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == SIZE_WH and picture.mode == "RGB"
    for row in coco.anns.values():
        mask = coco.annToMask(row)
        ys, xs = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
        x, y, width, height = row["bbox"]
        drawn, told = [xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], [x, y, x + width, y + height]
        assert (
            max(abs(a - b) for a, b in zip(drawn, told, strict=True)) <= 1
        )  # corners of polygons are rounded
        assert row["area"] == mask.sum() > 0 and row["iscrowd"] == 0


def test_truth_file_states_the_world_and_each_scene(written: Path) -> None:
    truth = json.loads((written.parents[1] / "ground_truth.json").read_text("utf-8"))
    assert truth["relations"] == ground_truth()["relations"] and len(truth["scenes"]) == 20
    rows = json.loads(written.read_text("utf-8"))["annotations"]
    counts = Counter(row["image_id"] for row in rows)
    for number, scene in enumerate(truth["scenes"], start=1):
        assert len(scene["parents"]) == len(scene["sizes"]) == counts[number]


def test_objects_are_tight_visible_disjoint_and_on_free_ground(scenes: list[RenderedScene]) -> None:
    for scene in scenes:
        assert 3 <= len(scene.items) <= 14
        assert scene.masks.sum(0).max() <= 1
        assert not (scene.masks & scene.forbidden).any()
        assert 0.25 <= scene.forbidden.mean() <= 0.5
        for box, mask in zip(scene.boxes_xyxy.astype(int), scene.masks, strict=True):
            x1, y1, x2, y2 = box
            assert mask.sum() == mask[y1:y2, x1:x2].sum()
            assert mask[y1, :].any() and mask[y2 - 1, :].any() and mask[:, x1].any() and mask[:, x2 - 1].any()
    longer = np.concatenate([(s.boxes_xyxy[:, 2:] - s.boxes_xyxy[:, :2]).max(1) for s in scenes])
    assert longer.max() <= 43 and np.quantile(longer, 0.02) >= 16
    assert MIN_VISIBILITY >= 0.45


def test_objects_grow_towards_the_bottom(scenes: list[RenderedScene]) -> None:
    cups = [i for s in scenes for i in s.items if i.category == "cup"]
    y, size = np.array([i.centre_xy[1] for i in cups]), np.array([i.size for i in cups])
    assert np.corrcoef(y, size)[0, 1] > 0.8


def test_categories_have_a_long_tail(arranged: list[tuple[str, list[str]]]) -> None:
    counts = Counter(name for _, names in arranged for name in names)
    share = {name: n / counts.total() for name, n in counts.items()}
    assert len(share) == len(CATEGORIES) == 13
    assert sorted(share, key=lambda name: share[name])[-1] == "can"
    for name in RARE:
        assert 0.006 <= share[name] <= 0.018, (name, share[name])
    assert 0.003 <= share["battery"] <= 0.014
    assert 0.03 <= share["lid"] <= 0.07
    assert min(share[name] for name in ("bottle", "can", "cup", "carton", "paper", "bag")) > 0.07


def test_rare_categories_follow_their_groups_and_are_never_strays(
    arranged: list[tuple[str, list[str]]],
) -> None:
    members = {g.name: set(g.members) for g in GROUPS}
    assert not set(RARE) & set(STRAY_WEIGHTS)
    for name in RARE:
        homes = {group for group, names in arranged if name in names}
        assert homes == {group for group, inside in members.items() if name in inside}
        assert 1 <= len(homes) <= 2
        assert any(r.category == name for r in RELATIONS)


def test_affinity_finds_the_groups_of_the_rare_categories(arranged: list[tuple[str, list[str]]]) -> None:
    ids = {name: number for number, name in NAMES.items()}
    scenes = [
        Scene(
            i, f"{i}.jpg", SIZE_WH, np.tile([0.0, 0.0, 9.0, 9.0], (len(names), 1)),
            np.array([ids[n] for n in names], np.int64), np.arange(len(names)), np.zeros(len(names), bool),
        )
        for i, (_, names) in enumerate(arranged)
    ]  # fmt: skip
    affinity = Affinity.fit(Dataset(CATEGORIES, tuple(scenes), {}, Path("sample")))
    order = list(affinity.names)
    for name in RARE:
        row = affinity.matrix[:, order.index(name)]
        anchors = {r.anchor for r in RELATIONS if r.category == name}
        homes = [set(g.members) for g in GROUPS if name in g.members]
        outside = set(STRAY_WEIGHTS) - set.union(*homes)
        near = np.mean([row[order.index(n)] for n in anchors])
        far = np.mean([row[order.index(n)] for n in outside])
        assert near > far + 0.3, (name, near, far)


def test_groups_show_in_the_counts_and_repelled_pairs_never_meet(scenes: list[RenderedScene]) -> None:
    present = [set(names_of(s)) for s in scenes]

    def lift(a: str, b: str) -> float:
        both = sum({a, b} <= p for p in present) / len(present)
        return both / (sum(a in p for p in present) * sum(b in p for p in present) / len(present) ** 2)

    assert all(not set(pair) <= p for pair in REPELLED for p in present)
    for a, b in (("cup", "lid"), ("bottle", "can"), ("carton", "lid"), ("bag", "lid")):
        assert lift(a, b) > 1.15, (a, b)
    for a, b in (("can", "bag"), ("bottle", "cup"), ("can", "cup")):
        assert lift(a, b) < 0.8, (a, b)
    for scene in scenes:
        group = next(g for g in GROUPS if g.name == scene.group)
        strays = [n for n in names_of(scene) if n not in group.members]
        assert len(strays) <= 0.6 * len(scene.items)


def test_relations_are_where_the_truth_says(scenes: list[RenderedScene]) -> None:
    for number, relation in enumerate(RELATIONS):
        distance, turn = [], []
        for scene in scenes:
            for item in scene.items:
                if item.relation != number:
                    continue
                anchor = scene.items[item.parent]
                assert (anchor.category, item.category) == (relation.anchor, relation.category)
                dx, dy = (item.centre_xy[k] - anchor.centre_xy[k] for k in (0, 1))
                distance.append(math.hypot(dx, dy) / anchor.size)
                angle = math.degrees(math.atan2(dy, dx)) - relation.angle_deg
                turn.append((angle + 180) % 360 - 180)
        if len(distance) < 12:
            continue
        assert abs(np.mean(distance) - relation.distance) < relation.distance_std
        assert abs(np.mean(turn)) < relation.angle_std_deg
        assert np.std(distance) < 2 * relation.distance_std and np.std(turn) < 2 * relation.angle_std_deg
    assert np.mean([i.relation >= 0 for s in scenes for i in s.items]) > 0.4


def test_the_colour_of_a_box_does_not_tell_the_category(scenes: list[RenderedScene]) -> None:
    colours, labels = [], []
    for scene in scenes:
        for (x1, y1, x2, y2), category in zip(scene.boxes_xyxy.astype(int), scene.category_ids, strict=True):
            pixels = scene.image[y1:y2, x1:x2].reshape(-1, 3)
            colours.append(np.concatenate([pixels.mean(0), pixels.std(0)]))
            labels.append(int(category))
    x, y = np.array(colours), np.array(labels)
    split = len(y) * 2 // 3
    x = (x - x[:split].mean(0)) / x[:split].std(0)
    nearest = ((x[split:, None] - x[None, :split]) ** 2).sum(2).argsort(1)[:, :5]
    guess = np.array([Counter(y[row].tolist()).most_common(1)[0][0] for row in nearest])
    accuracy = (guess == y[split:]).mean()
    assert accuracy < 0.5, (
        f"colour alone gives {accuracy:.2f} (largest category {np.bincount(y).max() / len(y):.2f})"
    )


def test_a_finished_sample_is_left_alone_and_an_interrupted_one_is_finished(
    tmp_path: Path, written: Path
) -> None:
    out = written.parents[1]
    stamp = written.stat().st_mtime_ns
    assert write_sample(out, num_images=20, seed=3, workers=1) == written
    assert written.stat().st_mtime_ns == stamp
    document = write_sample(tmp_path, num_images=2, workers=1).read_bytes()
    (tmp_path / "annotations/instances.json").unlink()
    assert write_sample(tmp_path, num_images=2, workers=1).read_bytes() == document


def test_foreign_directories_and_other_settings_are_refused(tmp_path: Path, written: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not empty"):
        write_sample(tmp_path, num_images=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    for place in ("notes.txt", "notes.txt/sample"):
        with pytest.raises(ConfigError, match=r"is a file|isn't a folder"):
            write_sample(tmp_path / place, num_images=1)
    with pytest.raises(DatasetError, match="other settings"):
        write_sample(written.parents[1], num_images=21, seed=3)
    with pytest.raises(DatasetError, match="num_images"):
        write_sample(tmp_path / "new", num_images=0)
