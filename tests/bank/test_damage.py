"""A damaged bank is refused in one line that names its folder, or is used."""

import numpy as np

from augsynth.bank.reader import Bank, BankError, Cutout
from augsynth.bank.writer import BankWriter
from augsynth.core.scene import Category
from tests.damage import check_damage


def write_bank(folder):
    with BankWriter(folder, categories=(Category(3, "cup"), Category(7, "lid", "trash"))) as writer:
        for k in range(4):
            writer.add(
                Cutout(
                    image=np.full((20, 30, 3), 60 * k, np.uint8),
                    alpha=np.full((20, 30), 255, np.uint8),
                    box_xyxy=np.array([2.25, 3.5, 28, 18]),
                    category_id=(3, 7)[k % 2],
                    score=0.5,
                    source_size_wh=(640, 480),
                    has_mask=True,
                    ring=np.full(5, 0.25),
                    others_xyxy=np.array([[3.0, 4.5, 9, 10]])[: k % 2],
                    other_ids=np.array([7])[: k % 2],
                )
            )
    return folder


def use_bank(folder):
    bank = Bank.open(folder)
    bank.summary()
    for position in range(len(bank)):
        bank.ring(position)
        found = bank[position]
        assert found.image.size and len(found.others_xyxy) == len(found.other_ids)
    assert (bank.box_sizes_wh > 0).all() and (bank.source_sizes_wh > 0).all()
    for category in bank.categories:
        bank.of_category(category.id)


def test_a_damaged_description(tmp_path):
    folder = write_bank(tmp_path / "bank")
    used, refused = check_damage(folder / "bank.json", lambda: use_bank(folder), named=str(folder))
    assert used > 5 and refused > 50


def test_damaged_bytes(tmp_path):
    folder = write_bank(tmp_path / "bank")
    rng = np.random.default_rng(4)
    refused = 0
    for name in ("index.npy", "others.npy", "cutouts.bin"):
        whole = (folder / name).read_bytes()
        for _ in range(150):
            data = bytearray(whole)
            at = int(rng.integers(len(data)))
            match int(rng.integers(3)):
                case 0:
                    data[at] ^= 1 << int(rng.integers(8))
                case 1:
                    del data[at:]
                case 2:
                    data[at : at + 8] = b"\xff" * min(8, len(data) - at)
            (folder / name).write_bytes(data)
            try:
                use_bank(folder)
            except BankError as error:
                refused += 1
                assert str(folder) in str(error) and ";" in str(error) and "\n" not in str(error)
        (folder / name).write_bytes(whole)
    assert refused > 200
