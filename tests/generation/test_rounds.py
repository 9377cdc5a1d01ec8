"""Rounds: what they keep and cost together, what each shard begins from, and that the order of shards is no matter."""

import itertools
import random
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augsynth.affinity.model import Affinity
from augsynth.core.errors import ResumeError
from augsynth.core.records import ShardRecord
from augsynth.generation import run
from augsynth.generation.config import GenerateConfig, RunOptions
from augsynth.generation.context import CategoryChooser, Placing
from augsynth.generation.rounds import (
    FIRST_JOBS,
    FIRST_SHARDS,
    ShardPlan,
    plan_round,
    rounds_over,
    share,
    source_scenes,
)
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.source_pictures import SourcePictures
from augsynth.generation.statistics import CategoryYields, Tally
from augsynth.pasting.init_images import MAX_USES, InitImages
from tests.generation.fake_run import generate, without_models, write_source
from tests.generation.run_files import files_of


@given(st.integers(0, 1000), st.integers(1, 50))
def test_parts_sum_to_the_whole(total: int, parts: int) -> None:
    found = [share(total, part, parts) for part in range(parts)]
    assert sum(found) == total and max(found) - min(found) <= 1


@given(
    n=st.integers(1, 3000),
    accepted=st.integers(0, 2999),
    attempts=st.integers(0, 5000),
    max_attempts=st.integers(1, 6000),
    first=st.integers(0, 400),
    slots=st.integers(1, 6),
    retries=st.integers(1, 4),
    largest=st.integers(4, 32),
)
def test_a_round_keeps_and_costs_no_more_than_is_left(
    n: int,
    accepted: int,
    attempts: int,
    max_attempts: int,
    first: int,
    slots: int,
    retries: int,
    largest: int,
) -> None:
    accepted, attempts = min(accepted, n - 1), min(attempts, max_attempts - 1)
    before = Tally(n, accepted=accepted, attempts=attempts)
    plans = plan_round(
        before,
        RunOptions(n=n, max_attempts=max_attempts, retries=retries),
        first=first,
        first_job=70,
        slots=slots,
        largest=largest,
    )
    assert [plan.index for plan in plans] == [first + k for k in range(len(plans))]
    assert {plan.parts for plan in plans} == {len(plans)}
    assert 1 <= len(plans) <= max(FIRST_SHARDS, first)
    jobs = [job for plan in plans for job in range(plan.first_job, plan.first_job + plan.jobs)]
    assert jobs == list(range(70, 70 + len(jobs)))
    assert sum(plan.wanted for plan in plans) <= n - accepted
    assert sum(plan.budget for plan in plans) <= max_attempts - attempts
    for plan in plans:
        assert 1 <= plan.wanted <= plan.jobs * slots and plan.jobs <= largest
        assert 1 <= plan.budget <= plan.jobs * slots * retries
        assert plan.jobs <= FIRST_JOBS or attempts >= 100
    if sum(plan.budget for plan in plans) < max_attempts - attempts and len(jobs) < len(plans) * largest:
        assert len(jobs) * slots >= n - accepted or attempts < 100


def test_a_run_grows_by_rounds() -> None:
    before, sizes = Tally(100_000), []
    for _ in range(6):
        plans = plan_round(before, RunOptions(n=100_000), first=sum(sizes), first_job=0, slots=2, largest=32)
        sizes.append(len(plans))
        before = Tally(100_000, attempts=1000)
    assert sizes == [8, 8, 16, 32, 64, 128]


def test_a_round_begins_no_more_than_quotas_allow() -> None:
    plans = plan_round(Tally(500), RunOptions(n=500), first=0, first_job=0, slots=2, largest=32, room=21)
    assert sum(plan.jobs for plan in plans) == 11


def plans_of(parts: int, before: CategoryYields) -> list[ShardPlan]:
    return [ShardPlan(k, k, parts, k, 1, 1, 1, before) for k in range(parts)]


@pytest.mark.parametrize("parts", [1, 3, 8])
def test_no_round_exceeds_a_quota(parts: int) -> None:
    chooser = CategoryChooser(Affinity.__new__(Affinity), frozenset({1, 2, 3}), {1: 10, 2: 4})
    placing = Placing(chooser, None, None, None)  # type: ignore[arg-type]
    before = CategoryYields(Counter({1: 9}), Counter({1: 5, 2: 4}))
    quotas = [plan.placing(placing).chooser.quotas for plan in plans_of(parts, before)]
    assert sum(each[1] - 5 for each in quotas) == 5 and sum(each[2] - 4 for each in quotas) == 0
    assert all(each.keys() == {1, 2} for each in quotas)
    assert chooser.room(before) is None and replace(chooser, wanted_ids=frozenset({1, 2})).room(before) == 5


@pytest.mark.parametrize("parts", [1, 3, 30])
def test_no_round_uses_an_object_too_often(parts: int) -> None:
    starts = InitImages(None, {1: [0, 4], 2: [7]}, {})  # type: ignore[arg-type,dict-item]
    placing: Any = SimpleNamespace(init_images=starts)
    before = CategoryYields(started=Counter({4: 13, 7: MAX_USES}))
    begun = [plan.yields(placing).started for plan in plans_of(parts, before)]
    for position, left in ((0, MAX_USES), (4, 7), (7, 0)):
        own = [MAX_USES - each[position] for each in begun]
        assert sum(own) == left and max(own) - min(own) <= 1
    assert before.started == {4: 13, 7: MAX_USES}


def test_rounds_that_are_over() -> None:
    shards = [ShardRecord(jobs=1, part=k, parts=parts) for parts in (2, 3) for k in range(parts)]
    assert [rounds_over(shards[:num]) for num in range(6)] == [0, 0, 2, 2, 2, 5]


def test_each_pass_shows_every_image_once() -> None:
    found = [place for _, place in source_scenes(5, range(15), seed=3)]
    assert all(sorted(found[low : low + 5]) == list(range(5)) for low in (0, 5, 10))
    assert found[:5] != found[5:10]
    assert list(source_scenes(5, range(7, 9), seed=3)) == [(7, found[7]), (8, found[8])]


@pytest.fixture
def config(tmp_path: Path) -> GenerateConfig:
    return write_source(tmp_path / "source").but(n=6)


def test_shards_of_a_round_may_be_painted_in_any_order(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_models(monkeypatch, config)
    generate(config, tmp_path / "whole")
    inside = run.paint_planned

    def failing(context: Any, plan: ShardPlan, **rest: Any) -> object:
        if turns.random() < 0.3:
            raise KeyboardInterrupt
        return inside(context, plan, **rest)

    def shuffled(config: GenerateConfig, paint: Any) -> Any:
        def paint_some(plans: list[ShardPlan]) -> Any:
            found = {}
            for plan in turns.sample(plans, len(plans)):
                found[plan.index] = paint(plan)
            return (found[plan.index] for plan in plans)

        return nullcontext(paint_some)

    monkeypatch.setattr(run, "paint_planned", failing)
    monkeypatch.setattr(run, "open_processes", shuffled)
    gaps = 0
    for seed in range(12):
        turns, out = random.Random(seed), tmp_path / str(seed)
        for _ in itertools.count():
            try:
                generate(config, out)
                break
            except KeyboardInterrupt:
                numbers = sorted(int(path.stem) for path in (out / "shards").glob("0*.json"))
                gaps += numbers != list(range(len(numbers)))
        assert files_of(out) == files_of(tmp_path / "whole")
    assert gaps  # some were there while earlier ones weren't


def test_a_shard_that_another_process_paints_is_waited_for(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = without_models(monkeypatch, config)
    generate(config, tmp_path / "whole")
    painted.clear()
    inside, asked = run.paint_and_commit, Counter[int]()

    def busy(context: Any, folder: Any, plan: ShardPlan) -> object:
        asked[plan.index] += 1
        if plan.index == 1 and asked[1] == 1:
            return None  # another one is at it
        if plan.index == 2 and asked[2] == 1:
            inside(context, folder, plan)  # another one has done it
            return None
        return inside(context, folder, plan)

    monkeypatch.setattr(run, "paint_and_commit", busy)
    monkeypatch.setattr(run, "LOOK_AGAIN_S", 0.0)
    generate(config, tmp_path / "out")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    assert asked[1] == asked[2] == 2 and sorted(painted) == list(range(6))


def test_no_two_processes_claim_a_shard(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "out", {}, SourcePictures(Path(), {})) as folder:
        with folder.claim(3) as first, folder.claim(3) as second, folder.claim(4) as other:
            assert first and other and not second
        with folder.claim(3) as again:
            assert again
        folder.finish()
    assert not [*(tmp_path / "out").rglob("*.claim")]


def test_shards_of_another_plan_are_refused(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(context: Any, plan: ShardPlan, **rest: Any) -> object:
        if plan.index:
            raise KeyboardInterrupt
        return inside(context, plan, **rest)

    without_models(monkeypatch, config)
    inside = run.paint_planned
    with monkeypatch.context() as patch:
        patch.setattr(run, "paint_planned", failing)
        with pytest.raises(KeyboardInterrupt):
            generate(config, tmp_path / "out")
    monkeypatch.setattr(run, "jobs_per_shard", lambda config, dataset: 4)
    with pytest.raises(ResumeError, match="shard 0 is of another run; choose another --out"):
        generate(config, tmp_path / "out")
