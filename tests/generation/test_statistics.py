"""What a run has done, by category."""

import json
from pathlib import Path

from augsynth.commands.progress import category_lines, summary_lines
from augsynth.generation.statistics import Tally

ATTEMPTS = [
    {"reason": "accepted", "category_id": 3},
    {"reason": "accepted", "category_id": 3, "surplus": True},
    {"reason": "low_score", "category_id": 3},
    {"reason": "no_region", "category_id": 7},
    {"reason": "low_score", "category_id": 7},
    {"reason": "not_in_top_k", "category_id": 3},
    {"reason": "bad_image"},
]
SHARD = {"attempts": ATTEMPTS, "decoys": [], "images": [{}]}


def counted(**options) -> Tally:
    tally = Tally(5, names={3: "battery", 7: "[bold]lid"}, **options)
    tally.add(json.loads(json.dumps(SHARD)))
    return tally


def test_rows_say_what_became_of_each_category() -> None:
    tally = counted()
    battery, lid = tally.rows()
    assert battery == {
        "category_id": 3,
        "category": "battery",
        "attempts": 4,
        "planned": 4,
        "accepted": 2,
        "kept": 1,
        "yield": 0.5,
        "rejected": {"low_score": 1, "not_in_top_k": 1},
    }
    assert (lid["attempts"], lid["planned"], lid["accepted"], lid["yield"]) == (2, 1, 0, 0.0)
    assert tally.attempts == 7 and tally.accepted == 1
    assert tally.counts.tried == {3: 4, 7: 2} and tally.counts.accepted == {3: 1}
    document = tally.document()
    assert document["categories"] == [battery, lid] and json.dumps(document)
    assert sum(document["reasons"].values()) == document["attempts"] == 7


def test_the_table_has_a_column_for_each_reason_that_occurred() -> None:
    lines = category_lines(counted(), Path("out"))
    assert [line.split() for line in lines[-2:]] == [
        ["battery", "4", "4", "2", "50%", "1", "·", "1"],
        ["[bold]lid", "2", "1", "0", "0%", "1", "1", "·"],
    ]
    assert lines[-3].split()[:4] == ["category", "attempts", "planned", "accepted"]
    head = " ".join(lines[:-2])
    assert all(word in head for word in ("yield", "low", "score", "region", "top")) and "image" not in head
    assert len({len(line) for line in lines[-2:]}) == 1
    assert set(lines) <= set(summary_lines(counted(), Path("out")))


def test_a_long_table_is_cut_and_a_run_without_attempts_has_none() -> None:
    tally = Tally(1, names={k: f"a long name of a category, number {k}" for k in range(40)})
    tally.add({**SHARD, "attempts": [{"reason": "not_found", "category_id": k} for k in range(40)]})
    lines = category_lines(tally, Path("out"))
    assert lines[-1] == "… and 10 categories more, in out/summary.json"
    assert len(tally.rows()) == 40
    assert category_lines(Tally(1), Path("out")) == []
