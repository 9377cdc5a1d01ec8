"""The loop: what it paints comes from the seed, and nothing that was rejected stays."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from augsynth.core.records import ShardRecord
from augsynth.core.scene import Reason
from augsynth.filtering.judge import Thresholds
from augsynth.generation.context import RunContext
from augsynth.generation.engine import PaintedShard, paint_shard
from augsynth.generation.statistics import CategoryYields
from augsynth.inpainting.port import InpaintRequest
from tests.generation.run_files import files_of, written_to


def paint(context: RunContext, out: Path, *, num: int = 2, wanted: int = 2) -> PaintedShard:
    jobs = list(enumerate(context.dataset.scenes[:num]))
    return paint_shard(
        context, jobs, wanted=wanted, budget=9, before=CategoryYields(), write_image=written_to(out)
    )


def test_random_choices_come_from_the_seed(bare: RunContext, tmp_path: Path) -> None:
    one, two = (paint(bare, tmp_path / name) for name in ("one", "two"))
    assert one.record == two.record and len(one.record.images) == 2
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert ShardRecord.from_bytes(one.record.to_bytes()) == one.record


def test_objects_beyond_the_wanted_ones_are_taken_back_and_marked(bare: RunContext, tmp_path: Path) -> None:
    more = replace(bare, loop=replace(bare.loop, slots=2))
    shard = paint(more, tmp_path / "three", wanted=3).record
    assert [len(image.attempts) for image in shard.images] == [2, 1]
    surplus = [a for a in shard.attempts if a.accepted and not a.kept]
    assert len(surplus) == 1 and sum(a.kept for a in shard.attempts) == 3
    alone = paint(replace(more, loop=replace(more.loop, slots=1)), tmp_path / "one", wanted=2).record
    second = shard.images[1].file_name  # what was taken back left no pixel
    assert (tmp_path / "three" / second).read_bytes() == (
        tmp_path / "one" / alone.images[1].file_name
    ).read_bytes()


def test_without_a_filter_a_blanked_window_is_still_rejected(bare: RunContext, tmp_path: Path) -> None:
    class Blanking:
        name, size, cell = "blanking", 64, 4

        def inpaint(self, requests: Sequence[InpaintRequest]) -> list[None]:
            return [None] * len(requests)

    with pytest.raises(ValueError, match="neither"):
        replace(bare.judging, thresholds=Thresholds(0.5))
    blanking = replace(bare, painting=replace(bare.painting, inpainter=Blanking()))
    shard = paint(blanking, tmp_path, num=3, wanted=3).record
    assert {a.reason for a in shard.attempts} == {Reason.BLANK} and not shard.images


def test_an_image_that_cant_be_read_is_an_attempt_of_its_own(bare: RunContext, tmp_path: Path) -> None:
    first, second = bare.dataset.scenes[:2]
    torn = replace(bare, dataset=replace(bare.dataset, scenes=(replace(first, file_name="gone.png"), second)))
    shard = paint(torn, tmp_path).record
    assert [a.reason for a in shard.attempts] == [Reason.BAD_IMAGE, Reason.ACCEPTED]
    assert "gone.png" in str(shard.attempts[0].detail) and shard.images[0].attempts == (1,)
