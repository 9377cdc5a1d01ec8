"""The table and the plot, from whatever cells are there."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.gain.arms import ARMS
from benchmarks.gain.detectors import DETECTORS

Results = Sequence[Mapping[str, Any]]
Group = tuple[str, float, str]
COLUMNS = (("ap50", "AP50"), ("ap", "AP"), ("rare_ap50", "rare AP50"), ("calibration", "calibration error"))
BASES = {
    "none": "none",
    "copy_paste": "Copy-Paste",
    "paste_real": "AffinityPaste",
}  # what arms are compared with

SUMMARY = {
    "none": "no augmentation",
    "copy_paste": "Simple Copy-Paste",
    "paste_real": "AffinityPaste",
    "augsynth": "augsynth",
    "both": "augsynth + AffinityPaste",
    "settled_unfiltered": "from real objects",
    "settled_unfiltered_both": "from real objects + AffinityPaste",
}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and half width of the 95 % interval of the mean (Student's t); NaN for fewer than two values."""
    array = np.asarray(values, np.float64)
    if len(array) < 2:
        return float(array.mean()) if len(array) else float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array))
    return float(array.mean()), float(half)


def by_group(results: Results) -> dict[Group, dict[str, dict[int, Mapping[str, Any]]]]:
    """Return (source, share, detector) -> arm -> seed -> figures."""
    groups: dict[Group, dict[str, dict[int, Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for result in results:
        cell = result["cell"]
        groups[cell["source"], cell["share"], cell["detector"]][cell["arm"]][cell["seed"]] = result["figures"]
    return groups


def paired(
    arms: Mapping[str, Mapping[int, Mapping[str, Any]]], arm: str, base: str, figure: str
) -> list[float]:
    """Return the differences of an arm to another, seed by seed."""
    seeds = sorted(set(arms.get(arm, {})) & set(arms.get(base, {})))
    pairs = [(arms[arm][s][figure], arms[base][s][figure]) for s in seeds]
    return [a - b for a, b in pairs if a is not None and b is not None]


def markdown(results: Results) -> str:
    """Return one table for each data set, share and detector: points of 100, intervals of 95 %."""
    parts = []
    for (source, share, detector), arms in sorted(by_group(results).items()):
        parts.append(f"\n**{source}, {share:.0%} of the training images, {DETECTORS[detector]}**\n")
        head = " | ".join(title for _, title in COLUMNS)
        compared = " | ".join(f"AP50 − {title}" for title in BASES.values())
        parts.append(f"| arm | seeds | {head} | {compared} |")
        parts.append("|---|" + "---:|" * (1 + len(COLUMNS) + len(BASES)))
        parts.extend(_row(arms, arm) for arm in ARMS if arm in arms)
    return "\n".join(parts)


def summary(results: Results) -> str:
    """Return one table of AP50: a row for each data set, share and detector, a column for each arm of `SUMMARY`."""
    groups = by_group(results)
    shown = [arm for arm in SUMMARY if any(arm in arms for arms in groups.values())]
    parts = ["| AP50 | seeds | " + " | ".join(SUMMARY[a] for a in shown) + " |"]
    parts.append("|---|" + "---:|" * (len(shown) + 1))
    for (source, share, detector), arms in sorted(groups.items()):
        cells = [_with_interval([f["ap50"] for f in arms[a].values()]) if a in arms else "–" for a in shown]
        seeds = sorted(len(arms[a]) for a in shown if a in arms)
        count = str(seeds[0]) if seeds[0] == seeds[-1] else f"{seeds[0]}–{seeds[-1]}"
        parts.append(
            f"| {source}, {share:.0%}, {DETECTORS[detector]} | {count} | " + " | ".join(cells) + " |"
        )
    return "\n".join(parts)


def _row(arms: Mapping[str, Mapping[int, Mapping[str, Any]]], arm: str) -> str:
    figures = arms[arm].values()
    cells = [ARMS[arm].title, str(len(arms[arm]))]
    for key, _ in COLUMNS:
        cells.append(_with_interval([f[key] for f in figures if f[key] is not None]))
    for base in BASES:
        cells.append("" if arm == base else _with_interval(paired(arms, arm, base, "ap50"), signed=True))
    return "| " + " | ".join(cells) + " |"


def _with_interval(values: Sequence[float], *, signed: bool = False) -> str:
    if not values:
        return "–"
    mean, half = interval(values)
    text = f"{100 * mean:+.1f}" if signed else f"{100 * mean:.1f}"
    return text if np.isnan(half) else f"{text} ± {100 * half:.1f}"


def per_category(results: Results) -> str:
    """Return the mean gain in AP50 over no augmentation of each category."""
    parts = []
    for (source, share, detector), arms in sorted(by_group(results).items()):
        if "none" not in arms or len(arms) < 2:
            continue
        names = list(next(iter(arms["none"].values()))["category_ap50"])
        parts.append(f"\n**{source}, {share:.0%}, {DETECTORS[detector]}: AP50 of each category − none**\n")
        parts.append("| arm | " + " | ".join(names) + " |")
        parts.append("|---|" + "---:|" * len(names))
        for arm in ARMS:
            seeds = sorted(set(arms.get(arm, {})) & set(arms["none"]))
            if arm == "none" or not seeds:
                continue
            gains = [
                np.mean([
                    arms[arm][s]["category_ap50"].get(n, 0) - arms["none"][s]["category_ap50"].get(n, 0)
                    for s in seeds
                ])
                for n in names
            ]  # fmt: skip
            parts.append(f"| {ARMS[arm].title} | " + " | ".join(f"{100 * g:+.1f}" for g in gains) + " |")
    return "\n".join(parts)


def draw(results: Results, path: Path) -> None:
    """Draw the gain in AP50 over no augmentation, a panel for each data set and share: seeds, mean and interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    groups = {k: v for k, v in sorted(by_group(results).items()) if "none" in v and len(v) > 1}
    places = list(dict.fromkeys((source, share) for source, share, _ in groups))
    arms = [a for a in ARMS if a != "none" and any(a in found for found in groups.values())]
    if not places:
        return
    columns = min(4, len(places))
    rows = -(-len(places) // columns)
    size = 3.2 + 2.6 * columns, 1.1 + rows * (0.9 + 0.3 * len(arms))
    figure, axes = pyplot.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(places) :]:
        axis.set_visible(False)
    for axis, place in zip(axes.flat, places, strict=False):
        for offset, detector in enumerate(DETECTORS):
            for row, arm in enumerate(arms if (*place, detector) in groups else []):
                values = paired(groups[*place, detector], arm, "none", "ap50")
                _draw_gain(axis, row + 0.3 * offset, [100 * value for value in values], f"C{offset}")
        axis.axvline(0, color="0.3", linewidth=1, zorder=0.9)
        axis.grid(axis="x", color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.set_title(f"{place[0]}, {place[1]:.0%} of the images", fontsize=9)
        axis.tick_params(labelsize=8, labelbottom=True)
    axes[0][0].set_yticks([r + 0.15 for r in range(len(arms))], [ARMS[a].title for a in arms])
    axes[0][0].set_ylim(len(arms) - 0.4, -0.3)
    figure.supxlabel("AP50 − AP50 without augmentation at the same seed, points", fontsize=9)
    marks = [
        Line2D([], [], marker="o", ls="", color=f"C{k}", label=name)
        for k, (detector, name) in enumerate(DETECTORS.items())
        if any(shown == detector for _, _, shown in groups)
    ]
    marks += [
        Line2D([], [], marker="|", ls="", color="0.3", label="a seed"),
        Line2D([], [], marker="o", color="0.3", label="mean and its 95 % interval (Student's t)"),
        Line2D([], [], marker="o", ls="", mfc="none", color="0.3", label="one seed alone: no interval"),
    ]
    figure.legend(handles=marks, fontsize=8, loc="outside upper left", ncols=len(marks), frameon=False)
    figure.savefig(path, dpi=110)


def _draw_gain(axis: Any, height: float, values: Sequence[float], colour: str) -> None:
    """Draw gains of one arm: each seed as a line, and the mean with its interval."""
    if not values:
        return
    mean, half = interval(values)
    axis.plot(values, [height] * len(values), "|", color=colour, markersize=9, alpha=0.7)
    if len(values) > 1:
        axis.errorbar(mean, height, xerr=half, fmt="o", color=colour, capsize=3, markersize=4, linewidth=1.2)
    else:
        axis.plot(mean, height, "o", color=colour, markersize=5, markerfacecolor="none")


def expense(results: Results) -> str:
    """Say how many cells there are, what they took, when and on what."""
    took = sum(r["seconds"] for r in results) / 3600
    dates, machines = (sorted({r[key] for r in results}) for key in ("date", "machine"))
    days = " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]]))
    return f"{len(results)} cells, {took:.1f} hours of training and testing, {days}; {', '.join(machines)}"


def dump(results: Results, path: Path) -> None:
    """Write the figures of all cells as one JSON file."""
    rows = [{**r["cell"], **r["figures"], "seconds": r["seconds"]} for r in results]
    path.write_text(json.dumps(rows, indent=0), "utf-8")
