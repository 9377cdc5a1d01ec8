"""How the category of a new object is drawn."""

from collections import Counter
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from augsynth.core.scene import Scene
from augsynth.filtering.real_objects import FilterRow
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import RunContext
from augsynth.generation.loading import open_context, open_dataset
from augsynth.generation.statistics import CategoryYields


def test_uniform_categories_are_each_alike_until_their_quota_is_used(bare: RunContext) -> None:
    dataset, rng = bare.dataset, np.random.default_rng(0)
    drawn = Counter(bare.placing.chooser.choose(s, CategoryYields(), rng) for s in [*dataset.scenes] * 40)
    expected = 40 * len(dataset.scenes) / len(dataset.categories_in_use())
    assert set(drawn) == {c.id for c in dataset.categories_in_use()}
    assert all(abs(count / expected - 1) < 0.4 for count in drawn.values())
    one, two, *_ = [c.id for c in dataset.categories]
    few = replace(bare.placing.chooser, wanted_ids=frozenset({one, two}), quotas={one: 1})
    scene: Scene = dataset.scenes[0]
    assert {few.choose(scene, CategoryYields(), rng) for _ in range(40)} == {one, two}
    spent = CategoryYields(accepted=Counter({one: 1}))
    assert {few.choose(scene, spent, rng) for _ in range(20)} == {two}
    assert few.open_ids(spent) == {two}
    assert replace(few, quotas={one: 1, two: 0}).choose(scene, spent, rng) is None


def test_categories_that_are_turned_down_are_tried_more_often(config: GenerateConfig) -> None:
    tried, accepted = Counter({c: 40 for c in range(1, 14)}), Counter({c: 30 for c in range(1, 14)})
    _, dataset = open_dataset(config)
    shown = Counter(int(c) for scene in dataset.scenes for c in scene.category_ids)
    hard = shown.most_common()[-1][0]
    accepted[hard] = 6
    assert CategoryYields().relative(hard) == 1.0
    assert CategoryYields(tried, accepted).relative(shown.most_common()[0][0]) == 1.0
    assert 0.2 < CategoryYields(tried, accepted).relative(hard) < 0.35
    accepted[hard] = 1  # with none it would be given up
    tried[hard] = 4000
    assert CategoryYields(tried, accepted).relative(hard) == 1 / 8
    shares = []
    for persistence in (0.0, 1.0):
        context = open_context(*open_dataset(config.but(filter="off", persistence=persistence)))
        rng = np.random.default_rng(0)
        drawn = Counter(
            context.placing.chooser.choose(s, CategoryYields(tried, accepted), rng)
            for s in [*context.dataset.scenes] * 40
        )
        shares.append(drawn[hard] / drawn.total())
    assert 2 * shares[0] < shares[1] < 8.5 * shares[0]


def test_a_category_that_cant_be_told_from_background_is_left_out(
    config: GenerateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from augsynth.generation import learning

    judged = learning.judge_real_objects

    def blurred(*given: object, **rest: object) -> tuple[FilterRow, ...]:
        first, *others = judged(*given, **rest)
        return (msgspec.structs.replace(first, auc=0.55), *others)

    monkeypatch.setattr(learning, "judge_real_objects", blurred)
    monkeypatch.setattr(learning, "CALIBRATION_IMAGES", 10)
    monkeypatch.setenv("AUGSYNTH_CACHE", "")
    filled, dataset = open_dataset(config.but(placement="uniform", masks="off"))
    context = open_context(filled, dataset)
    used = {c.id for c in dataset.categories_in_use()}
    left_out = context.filter_rows[0].category_id
    assert context.placing.chooser.wanted_ids == used - {left_out}
    assert [row.category_id for row in context.filter_rows] == sorted(used)
    assert any(row.accepted for row in context.filter_rows)


def test_what_is_found_badly_is_drawn_more_often(bare: RunContext) -> None:
    chooser, rng = bare.placing.chooser, np.random.default_rng(3)
    scenes = [*bare.dataset.scenes] * 120
    first = sorted(chooser.wanted_ids)[0]
    missing = {c: 0.9 if c == first else 0.3 for c in chooser.wanted_ids}

    def share(chosen: object) -> float:
        drawn = Counter(chosen.choose(s, CategoryYields(), rng) for s in scenes)  # type: ignore[attr-defined]
        return drawn[first] / len(scenes)

    for plain in (chooser, replace(chooser, rules=replace(chooser.rules, category_choice="uniform"))):
        before, after = share(plain), share(replace(plain, missing=missing))
        assert after == pytest.approx(3 * before / (1 + 2 * before), abs=0.06)
