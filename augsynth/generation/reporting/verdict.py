"""Three sentences about a run: its yield, what its filter is worth, and whether to use what was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from augsynth.filtering.grading import Agreement, LabelTruth
from augsynth.filtering.real_objects import FilterRow
from augsynth.generation.reporting.values import Report

Level = Literal["use", "look", "stop"]

_GOOD_SHARE, _LOW_SHARE = 0.8, 0.5
_LOW_AUC, _SURE = 0.8, 0.995
_LOW_YIELD = 0.1
_LOW_RATIO = 0.9  # of right labels, painted over real
_MOST_NAMES = 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person should know first.

    Attributes:
        level: Use it, look first, or stop.
        yield_line, filter_line, use_line: A sentence or two each.
        shaky: Categories that deserve a closer look, each with why.
    """

    level: Level
    yield_line: str
    filter_line: str
    use_line: str
    shaky: tuple[tuple[str, str], ...]


def sum_up(report: Report) -> Verdict:
    """Return the verdict on a run."""
    rows = [line.real for line in report.categories if line.real is not None]
    level, why = _decide(report, rows)
    filter_line = " ".join(filter(None, [_filter_line(report, rows), truth_line(report.truth)]))
    return Verdict(level, _yield_line(report), filter_line, why, _shaky(report))


def _yield_line(report: Report) -> str:
    so_far = " so far" if report.status == "running" else ""
    passed = report.reasons.get("accepted", 0)
    if not report.attempts:
        return "Nothing has been painted yet."
    verb = "were accepted" if report.filtered else "were kept, unseen by any filter"
    line = (
        f"{passed:,} of {report.attempts:,} attempts {verb}{so_far} (yield {report.yield_share:.0%}): "
        f"{report.accepted:,} of {report.wanted:,} wanted objects, in {report.images:,} new images."
    )
    return f"{line} {report.ended}" if report.ended else line


def _filter_line(report: Report, rows: Sequence[FilterRow]) -> str:
    if not report.filtered:
        return "There was no filter: nobody has checked whether a painted object can be recognised."
    objects, accepted = sum(row.objects for row in rows), sum(row.accepted for row in rows)
    if not objects:
        return "What the filter is worth isn't known: it was asked about no real object of these categories."
    line = f"The filter accepts {accepted:,} of {objects:,} of your real objects ({accepted / objects:.0%})"
    curve = _mean_auc(rows)
    if curve is not None:
        often = "nearly always" if curve >= _SURE else f"{curve:.0%} of the time"
        line += f", and a real object scores higher than empty background {often}"
    share = accepted / objects
    if share >= _GOOD_SHARE:
        return f"{line}: few good objects are lost to it."
    if share >= _LOW_SHARE:
        return f"{line}: it turns down good objects, too."
    return f"{line}: most of what it turns down may be good."


def truth_line(truth: LabelTruth | None) -> str:
    """Return what an independent detector makes of the labels, empty where none looked."""
    if truth is None or not truth.accepted.objects:
        return ""
    line = f"A detector that took no part finds {_agreement(truth.accepted)} of the painted labels right"
    if not truth.real.objects:
        return f"{line}; there are no real ones beside them to compare."
    line += f", and {_agreement(truth.real)} of the real ones in the same images"
    if truth.ratio is not None:
        line += f": {truth.ratio:.2f} times as often ({truth.low:.2f}–{truth.high:.2f})"
    if truth.real.share < _LOW_SHARE:
        return f"{line}. It misses most real ones, so it says little."
    return f"{line}."


def _agreement(found: Agreement) -> str:
    return f"{found.share:.0%} ({found.low:.0%}–{found.high:.0%})"


def _mean_auc(rows: Sequence[FilterRow]) -> float | None:
    known = [(row.auc, row.objects) for row in rows if row.auc is not None and row.objects]
    total = sum(objects for _, objects in known)
    return sum(auc * objects for auc, objects in known) / total if total else None


def _decide(report: Report, rows: Sequence[FilterRow]) -> tuple[Level, str]:
    """Return whether to use the objects, and why: the first case that holds."""
    objects, accepted = sum(row.objects for row in rows), sum(row.accepted for row in rows)
    curve = _mean_auc(rows)
    truth = report.truth
    look = "Strike out below what is wrong before you train on it."
    cases: list[tuple[bool, Level, str]] = [
        (
            report.status == "running",
            "look",
            "Wait for the end before you use it; look below already, and stop the run if this isn't what you want.",
        ),
        (
            not report.accepted and objects > 0 and accepted < _LOW_SHARE * objects,
            "stop",
            "There is nothing to use: no object was accepted. Look at the filter first, since it turns down most of "
            "your real objects, too: take a better detector.",
        ),
        (
            not report.accepted,
            "stop",
            "There is nothing to use: no object was accepted. The reasons below say what to change.",
        ),
        (
            report.status == "stopped",
            "stop",
            "Don't use it: hardly anything is accepted. The reasons below say what to change.",
        ),
        (not report.filtered, "look", f"Look before you use it, since nothing was checked. {look}"),
        (
            curve is not None and curve < _LOW_AUC,
            "stop",
            "Don't use it: the filter's scores hardly tell real objects from background. Take a better detector.",
        ),
        (
            objects > 0 and accepted < _LOW_SHARE * objects,
            "look",
            "Look before you use it: a filter that turns down half of the real objects is a poor judge of painted "
            f"ones. {look}",
        ),
        (
            truth is not None and truth.high is not None and truth.high < _LOW_RATIO,
            "look",
            "Look before you use it: the detector that took no part finds fewer painted labels right than real ones. "
            f"{look}",
        ),
        (
            report.yield_share < _LOW_YIELD,
            "look",
            f"Look before you use it: where {1 - report.yield_share:.0%} are turned down, more of the rest passed by "
            f"chance. {look}",
        ),
    ]
    for holds, level, why in cases:
        if holds:
            return level, why
    return "use", f"Use it: what is kept passed a filter that knows your objects. {look}"


def _shaky(report: Report) -> tuple[tuple[str, str], ...]:
    found = []
    for line in report.categories:
        row = line.real
        if row is None or not line.kept:
            continue
        if row.objects and row.share < _LOW_SHARE:
            found.append((line.name, f"the filter accepts {row.accepted} of {row.objects} real ones"))
        elif row.threshold_objects is not None and row.threshold_objects < 10:
            found.append((line.name, f"its threshold comes from {row.threshold_objects} real ones"))
        elif row.auc is not None and row.auc < _LOW_AUC:
            found.append((line.name, "its scores hardly tell real ones from background"))
    return tuple(found[:_MOST_NAMES])
