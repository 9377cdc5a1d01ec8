"""What a report says in words, numbers and small drawings."""

import json
import re
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from augsynth.affinity.model import Affinity
from augsynth.filtering.grading import Agreement, LabelTruth
from augsynth.filtering.real_objects import FilterRow
from augsynth.generation.reporting.affinity_table import MOST_CATEGORIES, tabulate
from augsynth.generation.reporting.charts import score_chart
from augsynth.generation.reporting.document import to_document
from augsynth.generation.reporting.values import Cost, Report
from augsynth.generation.reporting.verdict import sum_up
from tests.generation.reporting.pages import NAMES, affinity_of, attempts_of, dataset_of, report_of


def report(**values: Any) -> Report:
    return replace(report_of(attempts_of(60, 3)), **values)


def with_rows(**values: Any) -> Report:
    """A report whose filter says other things of real objects."""
    given = report()
    lines = [replace(line, real=msgspec.structs.replace(line.real, **values)) for line in given.categories]
    return replace(given, categories=lines)


@pytest.mark.parametrize(
    ("case", "level", "words"),
    [
        (report(), "use", "passed a filter that knows your objects"),
        (report(status="running"), "look", "Wait for the end"),
        (report(status="stopped"), "stop", "hardly anything is accepted"),
        (report(accepted=0), "stop", "The reasons below say what to change"),
        (replace(with_rows(accepted=3), accepted=0), "stop", "Look at the filter first"),
        (report(filtered=False), "look", "nothing was checked"),
        (with_rows(auc=0.6), "stop", "hardly tell real objects from background"),
        (with_rows(accepted=8), "look", "turns down half of the real objects"),
        (report(attempts=1000), "look", "97% are turned down"),
    ],
)
def test_whether_to_use_it_and_why(case: Report, level: str, words: str) -> None:
    found = sum_up(case)
    assert found.level == level and words in found.use_line


def test_yield_and_worth_of_the_filter_in_a_sentence_each() -> None:
    found = sum_up(report())
    assert (
        found.yield_line
        == "34 of 60 attempts were accepted (yield 57%): 34 of 34 wanted objects, in 34 new images."
    )
    assert found.filter_line == (
        "The filter accepts 57 of 60 of your real objects (95%), and a real object scores higher than empty background "
        "99% of the time: few good objects are lost to it."
    )
    assert "background nearly always: few" in sum_up(with_rows(auc=1.0)).filter_line
    assert "it turns down good objects, too" in sum_up(with_rows(accepted=12)).filter_line
    assert "most of what it turns down may be good" in sum_up(with_rows(accepted=4)).filter_line
    assert sum_up(with_rows(auc=None)).filter_line.startswith(
        "The filter accepts 57 of 60 of your real objects (95%):"
    )
    assert "isn't known" in sum_up(with_rows(objects=0, accepted=0, auc=None)).filter_line
    assert "no filter" in sum_up(report(filtered=False)).filter_line
    assert sum_up(report(ended="3 objects short: quotas")).yield_line.endswith(
        "new images. 3 objects short: quotas"
    )
    assert sum_up(report(attempts=0)).yield_line == "Nothing has been painted yet."


def truth(right: int, real: int, ratio: tuple[float, float, float]) -> LabelTruth:
    painted, others = (
        Agreement(objects=50, right=k, low=max(0, k / 50 - 0.1), high=min(1, k / 50 + 0.1))
        for k in (right, real)
    )
    return LabelTruth(judge="j", accepted=painted, real=others, ratio=ratio[0], low=ratio[1], high=ratio[2])


def test_label_truth_is_told_beside_the_filter_and_decides() -> None:
    found = sum_up(report(truth=truth(48, 45, (1.07, 0.97, 1.18))))
    assert found.level == "use" and found.filter_line.endswith(
        "A detector that took no part finds 96% (86%–100%) of the painted labels right, and 90% (80%–100%) of the real "
        "ones in the same images: 1.07 times as often (0.97–1.18)."
    )
    worse = sum_up(report(truth=truth(25, 45, (0.56, 0.45, 0.67))))
    assert worse.level == "look" and "fewer painted labels right than real ones" in worse.use_line
    assert "says little" in sum_up(report(truth=truth(20, 20, (1.0, 0.8, 1.2)))).filter_line
    assert "took no part" not in sum_up(report()).filter_line


def test_categories_that_deserve_a_closer_look_are_named() -> None:
    assert sum_up(report()).shaky == ()
    assert sum_up(with_rows(threshold_objects=7)).shaky == tuple(
        (name, "its threshold comes from 7 real ones") for name in NAMES[:2]
    )  # no bottle was kept
    assert "accepts 8 of 20" in sum_up(with_rows(accepted=8)).shaky[0][1]


def test_what_an_accepted_object_costs() -> None:
    cost = Cost(
        seconds=30.0,
        processes=2,
        attempts=20,
        accepted=10,
        samples_per_window=16,
        painted=50,
        all_accepted=25,
    )
    assert cost.seconds_each == 3 and cost.samples_each == 32
    nothing = Cost(30.0, 2, 20, 0, 16, 0, 0)
    assert nothing.seconds_each is None and nothing.samples_each is None
    assert replace(cost, samples_per_window=None).samples_each is None


def test_scores_are_drawn_on_both_sides_of_a_line_with_the_threshold() -> None:
    drawn = str(score_chart([0.9, 0.9, 0.5], [0.1, 0.9], 0.5))
    real = re.findall(r'<rect class="real" x="([\d.]+)" width="[\d.]+" y="([\d.]+)" height="([\d.]+)"', drawn)
    painted = re.findall(r'<rect class="painted" x="([\d.]+)" width="[\d.]+" y="([\d.]+)"', drawn)
    assert [float(x) for x, _, _ in real] == [120, 216] and float(real[1][2]) == 2 * float(real[0][2])
    assert [float(x) for x, _ in painted] == [24, 216] and {float(y) for _, y in painted} == {26}
    assert 'class="limit" x1="120.0"' in drawn
    assert (
        'aria-label="3 real objects, median score 0.90; 2 painted objects, median score 0.50; threshold 0.50"'
        in drawn
    )
    assert "no scores" in str(score_chart([], [], None))


def test_the_affinity_in_words_and_numbers() -> None:
    found = affinity_of()
    assert found.names == NAMES and found.label.startswith("factor on the odds")
    assert [[cell.text == "" for cell in row] for row in found.rows] == np.eye(3, dtype=bool).tolist()
    if found.found:
        assert found.together[0][:2] == ("cup", "can")
    assert all(-1 <= cell.level <= 1 for row in found.rows for cell in row)


@pytest.mark.parametrize("num", [30, 400])
def test_of_a_pair_that_its_cell_leaves_to_chance_it_is_said(num: int) -> None:
    found = tabulate(Affinity.fit(dataset_of(num=num)))
    [(a, b, why)] = found.together
    assert (a, b) == ("cup", "can")
    assert found.rows[0][1].told == ("too few to be sure" not in why) == (num == 400)


def test_without_structure_nothing_is_told() -> None:
    affinity = Affinity.fit(dataset_of(num=3))
    assert not affinity.has_structure()
    found = tabulate(affinity)
    assert found.verdict.startswith("No structure found") and not found.together and not found.apart
    assert not any(cell.told for row in found.rows for cell in row)


@pytest.mark.parametrize("measure", ["npmi", "conditional", "lift"])
def test_every_scale_has_ticks_within_it(measure: str) -> None:
    found = tabulate(Affinity.fit(dataset_of(), measure=measure))
    assert len(found.ticks) >= 3 and all(-1 <= level <= 1 for level, _ in found.ticks)


def test_of_many_categories_those_with_most_objects_are_shown() -> None:
    names = [f"c{k}" for k in range(30)]
    found = tabulate(Affinity.fit(dataset_of(names, num=40)))
    assert len(found.names) == MOST_CATEGORIES == len(found.rows[0]) and found.left_out == 10
    assert {"c0", "c1"} <= set(found.names)


def test_the_document_is_json_with_what_the_page_says() -> None:
    given = report()
    document = json.loads(json.dumps(to_document(given, sum_up(given), affinity_of())))
    assert document["augsynth_report"] == 1 and document["verdict"]["level"] == "use"
    cup = document["categories"][0]
    assert (cup["objects_before"], cup["objects_after"]) == (20, 20 + cup["kept"])
    assert len(cup["painted_scores"]) == cup["attempts"] - cup["rejected"]["no_region"]
    assert msgspec.convert(cup["real_objects"], FilterRow).scores
    assert document["cost"]["denoiser_samples_per_accepted"] == round(16 * 60 / 34, 1)
