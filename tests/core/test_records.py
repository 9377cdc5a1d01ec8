"""Records: one JSON form, and damage is told apart from what is whole."""

import json

import pytest
from msgspec import UNSET

from augsynth.core.records import (
    Attempt,
    Decoy,
    Extra,
    NewImage,
    ObjectMask,
    PlannedDecoy,
    Rle,
    ShardRecord,
)
from augsynth.core.scene import Reason
from tests.generation.run_files import painted_attempt

MASK = ObjectMask("matting", Rle((40, 40), "04P"))
ATTEMPTS = (
    Attempt(job=0, source_image_id=7, reason=Reason.BAD_IMAGE, detail="torn"),
    Attempt(
        job=0, source_image_id=7, reason=Reason.NO_CATEGORY, slot=0, retry=1, category_id=None, mode="replace"
    ),
    painted_attempt(mask=MASK, tile=0, extras=(Extra(2, (1.0, 1.0, 3.0, 3.0), 0.25),)),
    painted_attempt(Reason.LOW_SCORE, mode="replace", replaced_annotation_id=3, replaced_category_id=2),
    painted_attempt(mask=None),
)
DECOYS = (
    Decoy(job=0, source_image_id=7, slot=0, retry=0, like_category_id=1, reason=Reason.NO_REGION),
    Decoy(
        job=0,
        source_image_id=7,
        slot=0,
        retry=1,
        like_category_id=1,
        reason=Reason.ACCEPTED,
        plan=PlannedDecoy(
            planned_xyxy=(1.0, 1.0, 5.0, 5.0),
            window_xyxy=(0, 0, 9, 9),
            painted_xyxy=(0, 0, 6, 6),
            prompt="",
            seed=3,
        ),
    ),
)
IMAGE = NewImage(job=0, file_name="b.png", source_image_id=7, size_wh=(40, 40), attempts=(2, 4))
SHARD = ShardRecord(jobs=1, attempts=ATTEMPTS, decoys=DECOYS, images=(IMAGE,))


def test_a_shard_is_read_as_it_was_written() -> None:
    text = SHARD.to_bytes()
    again = ShardRecord.from_bytes(text)
    assert again == SHARD and again.to_bytes() == text and again.num_tiles == 1


def test_a_record_is_flat_and_has_the_keys_that_apply() -> None:
    torn, none, painted, rejected, unmasked = (attempt.to_json() for attempt in ATTEMPTS)
    assert torn == {"job": 0, "source_image_id": 7, "reason": "bad_image", "detail": "torn"}
    assert none["category_id"] is None and none["mode"] == "replace" and "planned_xyxy" not in none
    assert painted["mask"] == {"by": "matting", "rle": {"size": (40, 40), "counts": "04P"}}
    assert painted["anchor_annotation_id"] is None and painted["tile"] == 0
    assert not {"init_image", "negative_prompt", "class_rank", "surplus", "mode"} & painted.keys()
    assert "mask" not in rejected and unmasked["mask"] is None
    assert ATTEMPTS[2].judged(surplus=True).to_json()["surplus"] is True
    assert "plan" not in painted and "judgement" not in painted
    assert ATTEMPTS[3].mask is None and ATTEMPTS[3].painted.judgement.mask is UNSET
    assert "painted_xyxy" in DECOYS[1].to_json() and "painted_xyxy" not in DECOYS[0].to_json()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("jobs",), "one", "jobs"),
        (("images", 0, "attempts"), [3], "attempt 3, which isn't kept"),
        (("images", 0, "attempts"), [99], "attempt 99"),
        (("images", 0, "size_wh"), [40], "size_wh"),
        (("attempts", 2, "score"), None, "score"),
        (("attempts", 2, "box_xyxy"), None, "box_xyxy"),
        (("attempts", 2, "window_xyxy"), [0, 0, 1.5, 4], "window_xyxy"),
        (("attempts", 2, "category_id"), None, "category_id"),
        (("attempts", 2, "tile"), -1, "tile"),
        (("attempts", 0, "reason"), "tired", "tired"),
        (("attempts", 0), 7, "attempts"),
        (("decoys", 0, "job"), 5, "job 5"),
        (("decoys", 0, "reason"), "accepted", "planned_xyxy"),
    ],
)
def test_a_wrong_value_is_named(path: tuple[str | int, ...], value: object, words: str) -> None:
    values = json.loads(SHARD.to_bytes())
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=words):
        ShardRecord.from_bytes(json.dumps(values).encode())


def test_a_missing_key_and_a_cut_off_text_are_told() -> None:
    values = json.loads(SHARD.to_bytes())
    del values["attempts"][2]["iou"]
    with pytest.raises(ValueError, match="iou"):
        ShardRecord.from_bytes(json.dumps(values).encode())
    with pytest.raises(ValueError, match="truncated"):
        ShardRecord.from_bytes(SHARD.to_bytes()[:-9])


def test_only_what_was_painted_has_parts() -> None:
    assert ATTEMPTS[2].painted.category_id == 1 and ATTEMPTS[2].kept
    with pytest.raises(ValueError, match="no_category"):
        _ = ATTEMPTS[1].painted
    with pytest.raises(ValueError, match="wasn't found"):
        _ = painted_attempt(Reason.NOT_FOUND).judged(box_xyxy=None).painted.label_xyxy
