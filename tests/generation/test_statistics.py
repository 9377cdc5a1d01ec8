"""What a run has done, by category."""

import json
from pathlib import Path

import msgspec

from augsynth.commands.progress import category_lines, summary_lines
from augsynth.core.records import Attempt, Judgement, NewImage, PlannedObject, ShardRecord
from augsynth.core.scene import Reason
from augsynth.generation.statistics import Tally

PLAN = PlannedObject(
    planned_xyxy=(0, 0, 9, 9),
    window_xyxy=(0, 0, 16, 16),
    anchor_annotation_id=None,
    alignment_score=0.0,
    prompt="",
    seed=1,
)
FOUND = Judgement(score=0.9, iou=1.0, box_xyxy=(0, 0, 9, 9))


def attempt(reason: Reason, category_id: int, *, planned: bool = True, surplus: bool = False) -> Attempt:
    judgement = msgspec.structs.replace(FOUND, surplus=surplus) if planned else None
    return Attempt(
        job=0,
        source_image_id=1,
        slot=0,
        retry=0,
        reason=reason,
        category_id=category_id,
        plan=PLAN if planned else None,
        judgement=judgement,
    )


ATTEMPTS = (
    attempt(Reason.ACCEPTED, 3),
    attempt(Reason.ACCEPTED, 3, surplus=True),
    attempt(Reason.LOW_SCORE, 3),
    attempt(Reason.NO_REGION, 7, planned=False),
    attempt(Reason.LOW_SCORE, 7),
    attempt(Reason.NOT_IN_TOP_K, 3),
    Attempt(job=1, source_image_id=2, reason=Reason.BAD_IMAGE, detail="torn"),
)
IMAGE = NewImage(job=0, file_name="a.png", source_image_id=1, size_wh=(16, 16), attempts=(0,))


def counted(**options) -> Tally:
    tally = Tally(5, names={3: "battery", 7: "[bold]lid"}, **options)
    tally.add(ShardRecord(jobs=2, attempts=ATTEMPTS, images=(IMAGE,)))
    return tally


def test_rows_say_what_became_of_each_category() -> None:
    tally = counted()
    battery, lid = tally.rows()
    assert msgspec.to_builtins(battery) == {
        "category_id": 3,
        "category": "battery",
        "attempts": 4,
        "planned": 4,
        "accepted": 2,
        "kept": 1,
        "yield": 0.5,
        "rejected": {"low_score": 1, "not_in_top_k": 1},
    }
    assert (lid.attempts, lid.planned, lid.accepted, lid.yield_share) == (2, 1, 0, 0.0)
    assert tally.attempts == 7 and tally.accepted == 1
    assert tally.yields.tried == {3: 4, 7: 2} and tally.yields.accepted == {3: 1}
    document = tally.document()
    assert document["categories"] == msgspec.to_builtins([battery, lid]) and json.dumps(document)
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


def test_the_summary_says_where_accepted_objects_are_that_no_image_has() -> None:
    tally = counted()
    assert tally.surplus == 1
    line = "1 accepted beyond the 5 that were wanted: in no image and no annotation"
    assert line in summary_lines(tally, Path("out"))
    tally.struck[3] = 1
    assert not any("beyond" in line for line in summary_lines(tally, Path("out")))


def test_a_long_table_is_cut_and_a_run_without_attempts_has_none() -> None:
    tally = Tally(1, names={k: f"a long name of a category, number {k}" for k in range(40)})
    tally.add(ShardRecord(jobs=1, attempts=tuple(attempt(Reason.NOT_FOUND, k) for k in range(40))))
    lines = category_lines(tally, Path("out"))
    assert lines[-1] == "… and 10 categories more, in out/summary.json"
    assert len(tally.rows()) == 40
    assert category_lines(Tally(1), Path("out")) == []
