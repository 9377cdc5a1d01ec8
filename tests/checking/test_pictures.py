"""Pictures that are there twice are found whatever was done to them; those that only look alike aren't."""

import cv2
import numpy as np
import pytest
from PIL import Image

import augsynth
from augsynth.checking.pictures import Hashes, candidates, compare
from tests.checking.tiny_set import kinds, texture, write_set

DONE_TO_IT = {
    "nothing": lambda a: a,
    "brightness and contrast": lambda a: np.clip(a * 0.7 + 40, 0, 255).astype(np.uint8),
    "size": lambda a: cv2.resize(cv2.resize(a, (100, 75)), (160, 120)),
    "grey": lambda a: np.repeat(cv2.cvtColor(a, cv2.COLOR_RGB2GRAY)[..., None], 3, 2),
    "mirrored": lambda a: np.ascontiguousarray(a[:, ::-1]),
}
OTHER = {
    "shifted": lambda a: np.roll(a, 12, axis=1),
    "another": lambda a: texture(4711),
    "upside down": lambda a: np.ascontiguousarray(a[::-1]),
}


@pytest.mark.parametrize("case", [*DONE_TO_IT, *OTHER])
def test_a_picture_that_is_there_twice(case, tmp_path):
    path, images = write_set(tmp_path)
    Image.fromarray({**DONE_TO_IT, **OTHER}[case](texture(1))).save(images / "002.png")
    found = augsynth.check(path, images)
    assert kinds(found) == ({"same_pictures": 1} if case in DONE_TO_IT else {})
    if case in DONE_TO_IT:
        twin = found.findings[0].cases[0]
        assert (twin.file_name, twin.other_file_name, twin.other_image_id) == ("001.png", "002.png", 2)
        assert ("mirrored" in str(twin)) == (case == "mirrored")


def test_a_picture_in_two_splits_is_a_leak(tmp_path):
    train, val = write_set(tmp_path / "train"), write_set(tmp_path / "val", first=50)
    Image.fromarray(texture(1)).save(val[1] / "050.png")
    found = augsynth.check([train[0], val[0]], [train[1], val[1]])
    assert kinds(found) == {"leaked_pictures": 1}
    (case,) = found.findings[0].cases
    assert (case.file_name, case.other_file_name, case.other_file) == ("001.png", "050.png", str(val[0]))


def test_damaged_and_empty_pictures_are_told_and_the_rest_is_checked(tmp_path):
    path, images = write_set(tmp_path)
    data = (images / "003.png").read_bytes()
    (images / "003.png").write_bytes(data[: len(data) // 2])
    Image.new("RGB", (160, 120), "navy").save(images / "004.png")
    Image.new("RGB", (160, 120), "navy").save(images / "005.png")
    Image.fromarray(texture(6)).save(images / "007.png")
    found = augsynth.check(path, images)
    assert kinds(found) == {"damaged_pictures": 1, "empty_pictures": 2, "same_pictures": 1}


def test_candidates_are_the_pairs_within_the_distance():
    rng = np.random.default_rng(0)
    codes = [int(v) for v in rng.integers(0, 2**62, 700)]
    codes[650] = codes[3] ^ 0b1011
    codes[690] = codes[660] ^ 0b1
    mirrored = [int(v) for v in rng.integers(0, 2**62, 700)]
    mirrored[680] = codes[5] ^ 0b1
    found = sorted(candidates(Hashes(codes=codes, mirrored=mirrored)))
    assert found == [(3, 650, False), (5, 680, True), (660, 690, False)]


def test_many_pictures_with_one_hash_cost_a_bounded_number_of_comparisons():
    hashes = Hashes(codes=[5] * 400, mirrored=[2**60] * 400)
    assert len(list(candidates(hashes))) < 400 * 31


def test_likeness_does_not_depend_on_brightness():
    grey = cv2.resize(cv2.cvtColor(texture(1), cv2.COLOR_RGB2GRAY), (128, 128)).astype(np.float32)
    likeness = compare(grey, 0.5 * grey + 60)
    assert likeness.detail > 0.999 and likeness.scene > 0.999
    assert compare(grey, np.roll(grey, 9, axis=1)).detail < 0.5


def test_what_is_counted_ends_with_all_pictures(tmp_path):
    path, images = write_set(tmp_path)
    data = (images / "012.png").read_bytes()
    (images / "012.png").write_bytes(data[: len(data) // 2])
    Image.new("RGB", (160, 120), "navy").save(images / "004.png")
    told = []
    augsynth.check(path, images, progress=lambda what, done, of: told.append((what, done, of)))
    assert told == [("pictures", number, 12) for number in range(1, 13)]


def test_pictures_of_16_bits_are_looked_at(tmp_path):
    path, images = write_set(tmp_path)
    for name in ("003.png", "004.png"):
        grey = cv2.cvtColor(texture(30), cv2.COLOR_RGB2GRAY).astype(np.uint16)
        Image.fromarray(grey * 200 + 9000).save(images / name)
    assert kinds(augsynth.check(path, images)) == {"same_pictures": 1}
