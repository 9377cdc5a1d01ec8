"""Cutting: which of a dataset's objects become cut-outs, along their outlines or as feathered boxes."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from typer.testing import CliRunner

from augsynth.bank.cutting import (
    CutRules,
    Leftover,
    box_opacity,
    covered_share,
    cut_objects,
    reduced,
    segmentations_of,
    sort_objects,
)
from augsynth.bank.reader import Bank
from augsynth.cli import app
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import AugsynthError
from augsynth.core.images import read_image

ROOT = Path(__file__).resolve().parents[2]


def ellipse(x1, y1, x2, y2, points=40):
    t = np.linspace(0, 2 * np.pi, points, endpoint=False)
    x, y = (x1 + x2) / 2 + (x2 - x1) / 2 * np.cos(t), (y1 + y2) / 2 + (y2 - y1) / 2 * np.sin(t)
    return np.stack([x, y], axis=1).ravel().tolist()


def rectangle(x1, y1, x2, y2):
    return [x1, y1, x2, y1, x2, y2, x1, y2]


@pytest.fixture
def data(tmp_path):
    """One picture, 200 × 150, with every kind of object; and a second one that is damaged."""
    from pycocotools import mask as coco_mask

    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    PilImage.fromarray(rng.integers(0, 256, (150, 200, 3), dtype=np.uint8)).save(
        tmp_path / "images" / "a.png"
    )
    (tmp_path / "images" / "b.png").write_bytes((tmp_path / "images" / "a.png").read_bytes()[:900])
    rle = coco_mask.encode(np.asfortranarray(np.pad(np.tri(20, 20, dtype=np.uint8), ((90, 40), (120, 60)))))
    objects = [
        ("polygon", [20, 20, 30, 40], {"segmentation": [ellipse(20, 20, 50, 60)]}),
        ("rle", [120, 90, 20, 20], {"segmentation": {**rle, "counts": rle["counts"].decode()}}),
        ("box", [70, 20, 20.5, 24.25], {}),
        ("box as polygon", [150, 20, 20, 20], {"segmentation": [rectangle(150, 20, 170, 40)]}),
        ("outline of another", [150, 60, 20, 20], {"segmentation": [ellipse(20, 20, 50, 60)]}),
        ("crowd", [5, 100, 40, 40], {"iscrowd": 1}),
        ("tiny", [100, 60, 5, 30], {}),
        ("cut off", [180, 100, 20, 30], {}),
        ("overlapped", [60, 100, 20, 20], {}),
        ("overlapping", [70, 100, 32, 32], {}),
        ("held", [88, 112, 8, 8], {"segmentation": [ellipse(88, 112, 96, 120)]}),
    ]
    annotations = [
        {"id": k, "image_id": 1, "category_id": 3, "bbox": box, "area": box[2] * box[3], "iscrowd": 0, **more}
        for k, (_, box, more) in enumerate(objects, start=1)
    ]
    annotations.append({**annotations[2], "id": 99, "image_id": 2})
    images = [
        {"id": k, "file_name": f"{n}.png", "width": 200, "height": 150} for k, n in ((1, "a"), (2, "b"))
    ]
    categories = [{"id": 3, "name": "cup"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(document))
    return tmp_path, [name for name, _, _ in objects]


def cut(data, **options):
    root, names = data
    dataset = read_dataset(root / "instances.json", images=root / "images")
    scene, rules = dataset.scenes[0], CutRules(**options)
    outlines = segmentations_of(dataset)
    positions, left = sort_objects(scene, rules, segmentations=outlines)
    image = read_image(dataset, scene)
    cutouts = cut_objects(image, scene, positions, segmentations=outlines, rules=rules)
    return {names[k]: one for k, one in zip(positions, cutouts, strict=True)}, left, image, scene


def test_the_right_objects_are_cut(data):
    found, left, _, _ = cut(data)
    assert set(found) == {
        "polygon",
        "rle",
        "box",
        "box as polygon",
        "outline of another",
        "overlapping",
        "held",
    }
    assert left == Counter([Leftover.CROWD, Leftover.TINY, Leftover.CUT_OFF, Leftover.OVERLAPPED])
    more, left, _, _ = cut(data, keep_cut_off=True, max_overlap=0.6, min_size=4)
    assert set(more) - set(found) == {"tiny", "cut off", "overlapped"}
    assert left == Counter([Leftover.CROWD])


def test_a_box_brings_along_what_it_shows_and_an_outline_nothing(tmp_path):
    boxes = {
        "table": [20, 20, 100, 60],
        "cup": [30, 30, 10, 12],
        "lid": [112, 40, 20, 20],
        "far": [150, 20, 9, 9],
    }
    outline = {"segmentation": [ellipse(20, 20, 120, 80)]}
    for more, along in (({}, [3, 7]), (outline, [])):
        annotations = [
            {"id": k, "image_id": 1, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
            for k, (c, b) in enumerate(zip((5, 3, 7, 3), boxes.values(), strict=True), start=1)
        ]
        annotations[0] |= more
        categories = [{"id": k, "name": n} for k, n in ((3, "cup"), (5, "table"), (7, "lid"))]
        images = [{"id": 1, "file_name": "a.png", "width": 200, "height": 150}]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / "instances.json").write_text(json.dumps(document))
        dataset = read_dataset(tmp_path / "instances.json")
        outlines = segmentations_of(dataset)
        positions, _ = sort_objects(dataset.scenes[0], CutRules(), segmentations=outlines)
        assert 0 in positions
        image = np.zeros((150, 200, 3), np.uint8)
        table = cut_objects(image, dataset.scenes[0], positions, segmentations=outlines, rules=CutRules())[0]
        assert table.other_ids.tolist() == along
        if along:
            inside = table.others_xyxy - np.tile(table.box_xyxy[:2], 2)
            assert inside.tolist() == [[10, 10, 20, 22], [92, 20, 100, 40]]
            small = reduced(table, max_side=60)
            ratio = small.alpha.shape[1] / table.alpha.shape[1]
            assert np.allclose(small.others_xyxy, table.others_xyxy * ratio, atol=0.6)


def test_outlines_are_followed_and_boxes_are_opaque(data):
    found, _, image, scene = cut(data)
    assert {name for name, one in found.items() if one.has_mask} == {"polygon", "rle", "held"}
    for name, one in found.items():
        box = scene.boxes_xyxy[data[1].index(name)]
        x, y = np.round(box[:2] - one.box_xyxy[:2]).astype(int)
        height, width = one.alpha.shape
        assert (one.image == image[y : y + height, x : x + width]).all()
        assert np.allclose(one.box_xyxy[2:] - one.box_xyxy[:2], box[2:] - box[:2])
        assert one.source_size_wh == (200, 150) and one.score == 1.0 and one.category_id == 3
        assert len(one.ring) and np.isfinite(one.ring).all()
        inside = np.zeros(one.alpha.shape, bool)
        x1, y1 = np.floor(one.box_xyxy[:2]).astype(int)
        x2, y2 = np.ceil(one.box_xyxy[2:]).astype(int)
        inside[y1:y2, x1:x2] = True
        assert not one.alpha[~inside].any() and inside.sum() < inside.size
        if not one.has_mask:
            assert (one.alpha[inside] == 255).all()
    area = (found["polygon"].alpha == 255).sum()
    assert area == pytest.approx(np.pi / 4 * 30 * 40, rel=0.05)
    assert (found["rle"].alpha == 255).sum() == np.tri(20).sum()


def test_large_cutouts_are_reduced_with_their_source(data):
    large, _, _, _ = cut(data)
    small, _, _, _ = cut(data, max_side=16)
    for name, one in small.items():
        assert max(one.alpha.shape) == min(16, max(large[name].alpha.shape))
        before = large[name].box_xyxy[2:] - large[name].box_xyxy[:2]
        after = one.box_xyxy[2:] - one.box_xyxy[:2]
        assert np.allclose(after / one.source_size_wh, before / (200, 150), rtol=0.12)
    assert reduced(large["box"], max_side=1000) is large["box"]


def test_the_verb_says_how_far_it_is(data, tmp_path, monkeypatch):
    monkeypatch.setattr("augsynth.commands.progress._EVERY_S", -1)
    asked = ["bank", "--annotations", str(data[0] / "instances.json"), "--images", str(data[0] / "images")]
    result = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "out")])
    num = len(read_dataset(data[0] / "instances.json", images=data[0] / "images").scenes)
    told = [line for line in result.output.splitlines() if line.startswith("images: ")]
    assert told == [f"images: {done} of {num}" for done in range(num)] and num > 1


def test_the_verb_says_what_it_did_and_refuses_what_it_cannot(data, tmp_path):
    root, _ = data
    asked = ["bank", "--annotations", str(root / "instances.json"), "--images", str(root / "images"), "--out"]
    result = CliRunner().invoke(app, [*asked, str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "7 cut-outs, 3 with an outline (cup 7)" in result.output
    for words in ("1 tiny", "1 cut off by the border", "1 crowd or ignore region", "1 image unreadable"):
        assert words in result.output
    bank = Bank.open(tmp_path / "out")
    assert bank.source["annotations"] == "instances.json" and bank.source["max_side"] == 640
    for more, words in (
        ([str(tmp_path / "out")], "isn't an empty folder"),
        ([str(tmp_path / "none"), "--min-size", "500"], "no object can be cut"),
        ([str(tmp_path / "none"), "--max-overlap", "2"], "must lie in"),
        ([str(tmp_path / "none"), "--min-size", "0"], "[1, 1000000]"),
        ([str(tmp_path / "none"), "--max-side", "3"], "[16, 100000]"),
    ):
        refused = CliRunner().invoke(app, [*asked, *more])
        assert isinstance(refused.exception, AugsynthError)
        assert words in str(refused.exception) and "\n" not in str(refused.exception)
    assert not (tmp_path / "none").exists()


def test_shares_covered_by_others():
    box = np.array([10.0, 10, 30, 30])
    others = np.array([[0.0, 0, 20, 50], [0, 0, 50, 20], [40, 40, 60, 60]])
    assert covered_share(box, others) == pytest.approx(0.75, abs=0.02)
    assert covered_share(box, others[:0]) == 0


def test_a_feathered_box_is_opaque_inside_and_fades_outside():
    alpha = box_opacity(np.array([10.0, 10, 30, 20]), (0, 0, 40, 30), feather=4)
    assert (alpha[10:20, 10:30] == 255).all()
    assert (np.diff(alpha[15, 4:11].astype(int)) >= 0).all() and 0 < alpha[15, 8] < 255
    assert not alpha[:, :5].any()


def test_real_photographs_give_cutouts_with_outlines(tmp_path):
    data = ROOT.parent / "shared" / "data" / "coco_mini"
    if not data.is_dir():
        pytest.skip("the photographs of coco_mini aren't here")
    document = json.loads((data / "instances.json").read_text())
    chosen = {record["id"] for record in document["images"][:8]}
    for key, field in (("images", "id"), ("annotations", "image_id")):
        document[key] = [r for r in document[key] if r[field] in chosen]
    (tmp_path / "some.json").write_text(json.dumps(document))
    asked = ["--annotations", str(tmp_path / "some.json"), "--images", str(data / "images")]
    result = CliRunner().invoke(app, ["bank", *asked, "--out", str(tmp_path / "bank")])
    assert result.exit_code == 0, result.output
    bank = Bank.open(tmp_path / "bank")
    known = {a["id"]: a for a in document["annotations"] if not a["iscrowd"]}
    assert 0 < len(bank) < len(known) and bank.has_masks.mean() > 0.9
    areas = {round(a["area"]) for a in known.values()}
    near = [any(abs(int((c.alpha > 127).sum()) - a) <= 0.1 * a + 4 for a in areas) for c in bank]
    assert np.mean(near) > 0.9
