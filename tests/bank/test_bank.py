"""The object bank: what goes in comes out, nothing half written is read, and bad banks say what is wrong."""

import json
import os
import pickle
import signal
import subprocess
import sys
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
from augsynth.bank.reader import Bank, BankError, Cutout
from augsynth.bank.writer import BankWriter
from augsynth.cli import app
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import AugsynthError
from augsynth.core.images import read_image
from augsynth.core.scene import Category
from augsynth.masking.matting import matte

CATEGORIES = (Category(3, "cup"), Category(7, "lid", "trash"))
ROOT = Path(__file__).resolve().parents[2]


def cutout(number=0, *, size_wh=(40, 30), category_id=3, ring=5):
    rng = np.random.default_rng(number)
    width, height = size_wh
    return Cutout(
        image=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        alpha=rng.integers(0, 256, (height, width), dtype=np.uint8),
        box_xyxy=np.array([2.25, 3.5, width - 2, height - 1.125]),
        category_id=category_id,
        score=0.25 + number / 100,
        source_size_wh=(640, 480 + number),
        has_mask=number % 2 == 0,
        ring=rng.random(ring).astype(np.float32).astype(np.float64),
        others_xyxy=np.array([[3.0, 4.5, 9, 10], [1, 1, 8.25, 9]])[: number % 4],
        other_ids=np.array([7, 3])[: number % 4],
    )


def many():
    return [
        cutout(k, size_wh=(20 + k, 50 - k), category_id=(3, 7)[k % 3 == 0], ring=k % 2 * 9) for k in range(12)
    ]


@pytest.fixture
def path(tmp_path):
    with BankWriter(tmp_path / "bank", categories=CATEGORIES, source={"made_by": "a test"}) as writer:
        for one in many():
            writer.add(one)
    return tmp_path / "bank"


def same(a, b):
    arrays = ("image", "alpha", "box_xyxy", "ring", "others_xyxy", "other_ids")
    values = ("category_id", "score", "source_size_wh", "has_mask")
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in arrays) and all(
        getattr(a, n) == getattr(b, n) for n in values
    )


def test_what_goes_in_comes_out(path):
    bank = Bank.open(path)
    assert len(bank) == 12 and bank.categories == CATEGORIES and bank.source == {"made_by": "a test"}
    assert all(same(bank[k], one) for k, one in enumerate(many()))
    assert same(bank[-1], many()[-1])
    assert [np.array_equal(bank.ring(k), one.ring) for k, one in enumerate(many())] == [True] * 12
    bank[0].image[:] = 0  # a cut-out is the reader's own
    assert same(bank[0], many()[0])
    with pytest.raises(IndexError):
        bank[12]


def test_columns_are_known_without_pixels(path):
    bank = Bank.open(path)
    assert bank.category_ids.tolist() == [c.category_id for c in many()]
    assert bank.scores.tolist() == [c.score for c in many()]
    assert bank.has_masks.tolist() == [c.has_mask for c in many()]
    assert bank.source_sizes_wh.tolist() == [list(c.source_size_wh) for c in many()]
    assert np.allclose(bank.box_sizes_wh, [c.box_xyxy[2:] - c.box_xyxy[:2] for c in many()])
    assert bank.of_category(7).tolist() == [0, 3, 6, 9]
    assert bank.of_category(99).tolist() == []
    assert "12 cut-outs, 6 with an outline (cup 8, lid 4)" in bank.summary()


def test_a_pickled_bank_is_a_path(path):
    data = pickle.dumps(Bank.open(path))
    assert len(data) < 500
    assert same(pickle.loads(data)[5], many()[5])


def test_the_same_cutouts_give_the_same_bytes(path, tmp_path):
    with BankWriter(tmp_path / "again", categories=CATEGORIES, source={"made_by": "a test"}) as writer:
        for one in many():
            writer.add(one)
    for file in path.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_a_worker_holds_next_to_nothing(tmp_path):
    """20,000 cut-outs of 32 × 32: the pixels take 60 MB on disk, their reader a small part of it in memory."""
    status = Path("/proc/self/smaps_rollup")
    if not status.is_file():
        pytest.skip("no /proc here to measure memory with")
    one = cutout(size_wh=(32, 32))
    with BankWriter(tmp_path / "large", categories=CATEGORIES) as writer:
        for _ in range(20_000):
            writer.add(one)
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom augsynth.bank.reader import Bank\n"
        "def held():\n"
        "    text = Path('/proc/self/smaps_rollup').read_text()\n"
        "    return sum(int(l.split()[1]) for l in text.splitlines() if l.startswith(('Anonymous:', 'Swap:')))\n"
        "before = held(); bank = Bank.open(sys.argv[1]); bank.of_category(3)\n"
        "for k in range(0, 20_000, 7): bank[k]\nprint((held() - before) * 1024)"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "large")]
    held = int(subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    assert (tmp_path / "large" / "cutouts.bin").stat().st_size > 60e6
    assert held < 3e6


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("bank.json", lambda data: None, "no object bank"),
        ("bank.json", lambda data: data[:40], "isn't the description"),
        ("bank.json", lambda data: b"[]", "isn't the description"),
        ("bank.json", lambda data: data.replace(b'"version": 1', b'"version": 9'), "version 9"),
        ("bank.json", lambda data: data.replace(b'"id": 7', b'"id": 8'), "category ids [7] aren't listed"),
        ("bank.json", lambda data: data.replace(b'"id": 7', b'"key": 7'), "categories can't be read"),
        ("index.npy", lambda data: None, "can't be opened"),
        ("index.npy", lambda data: data[:-50], "can't be opened"),
        ("index.npy", lambda data: b"", "can't be opened"),
        ("cutouts.bin", lambda data: None, "can't be opened"),
        ("cutouts.bin", lambda data: b"", "can't be opened"),
        ("cutouts.bin", lambda data: data[:-1], "bytes, not"),
    ],
)
def test_a_damaged_bank_is_refused_in_one_line(path, file, change, words):
    data = change((path / file).read_bytes())
    (path / file).unlink()
    if data is not None:
        (path / file).write_bytes(data)
    with pytest.raises(BankError) as caught:
        Bank.open(path)
    message = str(caught.value)
    assert words in message and str(path) in message and ";" in message and "\n" not in message


def test_a_damaged_cutout_is_named_and_the_others_are_read(path):
    data = bytearray((path / "cutouts.bin").read_bytes())
    data[2 * len(data) // 3] ^= 1
    (path / "cutouts.bin").write_bytes(data)
    bank = Bank.open(path)
    broken = []
    for k, one in enumerate(many()):
        try:
            assert same(bank[k], one)
        except BankError as error:
            broken.append(k)
            assert f"cut-out {k} of 12 is damaged" in str(error)
    assert len(broken) == 1


def test_an_index_that_points_elsewhere_is_a_damaged_cutout(path):
    index = np.load(path / "index.npy")
    index["offset"][4] += 10**12
    np.save(path / "index.npy", index)
    with pytest.raises(BankError, match="cut-out 4 of 12 is damaged"):
        Bank.open(path)[4]


def test_an_empty_bank_is_refused(tmp_path):
    with BankWriter(tmp_path / "bank", categories=CATEGORIES):
        pass
    with pytest.raises(BankError, match="the bank is empty"):
        Bank.open(tmp_path / "bank")


def test_a_missing_bank_says_how_to_get_one(tmp_path):
    with pytest.raises(BankError, match="augsynth bank"):
        Bank.open(tmp_path / "nowhere")


def test_a_killed_writer_leaves_no_bank_and_the_next_one_writes_it(tmp_path):
    code = (
        "import sys, time\nimport tests.bank.test_bank as t\n"
        "with t.BankWriter(sys.argv[1], categories=t.CATEGORIES) as writer:\n"
        "    [writer.add(one) for one in t.many()]\n    print('ready', flush=True)\n    time.sleep(60)"
    )
    target = tmp_path / "bank"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not target.exists()
    with pytest.raises(BankError, match="no object bank"):
        Bank.open(target)
    with BankWriter(target, categories=CATEGORIES) as writer:
        writer.add(cutout())
    assert len(Bank.open(target)) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["bank"]


def test_an_error_while_writing_leaves_nothing(tmp_path):
    with (
        pytest.raises(ValueError, match="none of the bank's"),
        BankWriter(tmp_path / "b", categories=CATEGORIES) as w,
    ):
        w.add(cutout())
        w.add(cutout(category_id=4))
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone_unless_told(path, tmp_path):
    before = {p.name: p.read_bytes() for p in path.iterdir()}
    with pytest.raises(BankError, match="nothing was changed"):
        BankWriter(path, categories=CATEGORIES)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "draft.txt").write_text("years of work")
    for replace in (False, True):
        with pytest.raises(BankError, match="choose another --out"):
            BankWriter(tmp_path / "thesis", categories=CATEGORIES, replace=replace)
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before
    with BankWriter(path, categories=CATEGORIES, replace=True) as writer:
        writer.add(cutout())
        assert len(Bank.open(path)) == 12  # until the new one is whole
    assert len(Bank.open(path)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"image": np.zeros((30, 40), np.uint8)},
        {"image": np.zeros((30, 40, 3))},
        {"alpha": np.zeros((30, 41), np.uint8)},
        {"box_xyxy": np.array([0, 0, 41, 30.0])},
        {"box_xyxy": np.array([5, 5, 5, 9.0])},
        {"box_xyxy": np.array([0, 0, np.nan, 30.0])},
        {"score": float("nan")},
        {"ring": np.zeros((2, 2))},
        {"others_xyxy": np.zeros((1, 4)), "other_ids": np.array([3])},
        {"other_ids": np.array([3])},
    ],
)
def test_a_cutout_that_contradicts_itself_is_refused(change):
    one = cutout()
    values = {name: getattr(one, name) for name in Cutout.__dataclass_fields__}
    with pytest.raises(ValueError):
        Cutout(**{**values, **change})


# Cutting a dataset's own objects.


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
        ([str(tmp_path / "none"), "--min-size", "0"], "at least 1"),
        ([str(tmp_path / "none"), "--max-side", "3"], "at least 16"),
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


# Matting a painted object.


def painted(rng, *, object_colour=(210, 60, 40), noise=4.0):
    """A disc of radius 15 on a noisy ground, of which a square of 48 was painted anew."""
    before = np.clip(rng.normal((90, 120, 80), 12, (64, 64, 3)), 0, 255)
    after = before.copy()
    after[8:56, 8:56] += rng.normal(0, noise, (48, 48, 3))
    y, x = np.indices((64, 64)) + 0.5
    disc = np.hypot(x - 32, y - 32) <= 15
    after[disc] = np.asarray(object_colour) + rng.normal(0, 8, (int(disc.sum()), 3))
    both = (np.clip(np.round(a), 0, 255).astype(np.uint8) for a in (before, after))
    return *both, disc


BOX, PAINTED = np.array([17.0, 17, 47, 47]), np.array([8.0, 8, 56, 56])


@pytest.mark.parametrize("seed", range(3))
def test_matting_finds_the_outline_of_a_painted_object(seed):
    before, after, disc = painted(np.random.default_rng(seed))
    alpha = matte(before, after, box_xyxy=BOX, painted_xyxy=PAINTED)
    assert alpha is not None and alpha.min() >= 0 and alpha.max() <= 1
    found = alpha >= 0.5
    assert (found & disc).sum() / (found | disc).sum() > 0.9
    assert not alpha[~(np.pad(np.ones((34, 34), bool), 15))].any()


def test_matting_admits_when_the_pixels_do_not_tell():
    rng = np.random.default_rng(0)
    before, after, _ = painted(rng, object_colour=(92, 121, 83))
    assert matte(before, after, box_xyxy=BOX, painted_xyxy=PAINTED) is None
    before, after, _ = painted(rng)
    assert matte(before, before, box_xyxy=BOX, painted_xyxy=PAINTED) is None
    assert matte(before, after, box_xyxy=np.array([17.0, 17, 32, 47]), painted_xyxy=PAINTED) is None
    assert matte(before, after, box_xyxy=BOX, painted_xyxy=BOX) is None
    assert matte(before, 255 - before, box_xyxy=BOX, painted_xyxy=PAINTED) is None


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
