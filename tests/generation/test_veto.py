"""Veto files: what one holds, and what is said of a wrong one."""

from pathlib import Path

import pytest

from augsynth.core.errors import ConfigError
from augsynth.core.records import ShardRecord
from augsynth.core.scene import Reason
from augsynth.generation.veto import EXAMPLE, find_struck, read_veto
from tests.generation.run_files import painted_attempt

WRONG = {
    "no JSON": ("strike 3", "is no veto file"),
    "another document": ('{"attempts": [1]}', "is no veto file .*augsynth_veto"),
    "a later format": ('{"augsynth_veto": 2, "attempts": [1]}', "is no veto file"),
    "true for 1": ('{"augsynth_veto": true, "attempts": [1]}', "is no veto file"),
    "a list": ("[1, 2]", "is no veto file"),
    "nested a million deep": ("[" * 1_000_000, "is no veto file"),
    "numbers as text": ('{"augsynth_veto": 1, "attempts": ["1"]}', "is no veto file"),
    "a negative number": ('{"augsynth_veto": 1, "attempts": [-1]}', "is no veto file"),
    "a number of many digits": (f'{{"augsynth_veto": 1, "attempts": [{"9" * 5000}]}}', "is no veto file"),
    "no attempts": ('{"augsynth_veto": 1, "attempts": []}', "strikes nothing out"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_one_line(tmp_path: Path, kind: str) -> None:
    text, said = WRONG[kind]
    path = tmp_path / "veto.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        read_veto(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_file_that_isnt_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        read_veto(tmp_path / "veto.json")


def test_numbers_come_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "veto.json"
    path.write_text(EXAMPLE.replace("[3, 17]", "[17, 3, 17]"))
    assert read_veto(path) == (3, 17)


def test_numbers_count_through_the_shards_and_name_objects_in_images() -> None:
    surplus = painted_attempt().judged(surplus=True)
    first = ShardRecord(jobs=1, attempts=(painted_attempt(), painted_attempt(Reason.LOW_SCORE), surplus))
    second = ShardRecord(jobs=1, attempts=(painted_attempt(), painted_attempt().judged(vetoed=True)))
    shards = [first, second]
    assert find_struck(shards, [0, 3], title="t") == [{0}, {0}]
    for number, said in {
        1: r"t: attempt 1 was rejected \(low_score\)",
        2: "attempt 2 was accepted beyond the number wanted",
        4: "attempt 4 has been taken out already",
        5: "attempt 5 isn't in the run, which has 5",
        -1: "attempt -1 isn't in the run",
    }.items():
        with pytest.raises(ConfigError, match=said):
            find_struck(shards, [0, number], title="t")
