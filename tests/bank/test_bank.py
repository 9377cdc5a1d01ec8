"""The object bank: what goes in comes out, nothing half written is read, and bad banks say what is wrong."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from augsynth.bank.reader import Bank, BankError, Cutout
from augsynth.bank.writer import BankWriter
from augsynth.core.scene import Category

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
    assert [p.name for p in target.iterdir()] == [".part"]
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
