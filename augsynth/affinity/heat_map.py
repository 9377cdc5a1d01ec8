"""The heat map of an affinity, and its numbers in words: what each measure means, on one scale for all datasets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from augsynth.affinity.model import Affinity
from augsynth.affinity.scoring import BLEND, CLIP, DEFAULT_MEASURE
from augsynth.core.figures import Scale, heat_map
from augsynth.core.scene import FloatArray

_FACTORS = (
    (1 / 8, "× 1/8"),
    (1 / 4, "× 1/4"),
    (1 / 2, "× 1/2"),
    (1, "× 1"),
    (2, "× 2"),
    (4, "× 4"),
    (8, "× 8"),
)
_LOG_TICKS = tuple((math.log(factor), text) for factor, text in _FACTORS)
_SHARE_TICKS = tuple((tenth / 5, f"{20 * tenth} %") for tenth in range(6))
_MAX_SHOWN = 120  # categories that fit into a picture of 4,000 pixels
_BY_FACTOR = (DEFAULT_MEASURE, BLEND, "lift")


def factor_text(log_factor: float) -> str:
    """Return the factor in digits: × 80, × 2.7, × 0.31."""
    factor = math.exp(min(max(log_factor, -99.0), 99.0))
    if factor >= 9.95:
        return f"× {factor:.0f}" if factor < 1e6 else f"× {factor:.0e}"
    return f"× {factor:.1f}" if factor >= 0.995 else f"× {factor:.2f}" if factor >= 0.01 else "× < 0.01"


def value_text(measure: str, value: float) -> str:
    """Return an entry of a measure's matrix with its unit, for a line of text."""
    if measure in (DEFAULT_MEASURE, BLEND):
        return f"odds {factor_text(value)}"
    if measure == "lift":
        return f"lift {factor_text(math.log(max(value, 1e-12)))}"
    if measure == "conditional":
        return f"chance {value:.0%}"
    return f"{'cosine' if measure == CLIP else measure} {value:+.2f}"


def scale_of(affinity: Affinity) -> Scale:
    """Return what the colours of a measure mean."""
    if affinity.measure in _BY_FACTOR:
        what = {
            "lift": "images with both, as a multiple of what chance would give",
            BLEND: "factor on the odds of the column's category where the row's is present, counts and names",
        }
        label = what.get(
            affinity.measure, "factor on the odds of the column's category where the row's is present"
        )
        return Scale(label, 0.0, math.log(8), _LOG_TICKS, _plain_factor)
    if affinity.measure == "npmi":
        return Scale("normalised pointwise mutual information, −1 to 1", 0.0, 0.6)
    if affinity.measure == CLIP:
        return Scale("cosine of the names' text embeddings (white: the median)", affinity.neutral, 0.3)
    what = {
        "conditional": "chance of the column's category given the row's",
        "jaccard": "images with both, share of those with either",
        "cosine": "images with both, share of the geometric mean of either's",
    }
    return Scale(what[affinity.measure], None, 1.0, _SHARE_TICKS, "{:.0%}".format)


def draw_heat_map(affinity: Affinity, *, path: Path | BinaryIO, dataset: str = "") -> None:
    """Write the heat map of an affinity as PNG.

    A pair that chance explains is pale grey; all are where the cross-validation finds no structure. Of more than
    120 categories those are shown that most images have, and the title says so.

    Args:
        affinity: The matrix to draw.
        path: The file to write, or one open for writing.
        dataset: What the title calls the data.
    """
    found, counts = affinity.has_structure(), affinity.cooccurrence
    told = affinity.told if found else np.zeros(affinity.matrix.shape, bool)
    values: FloatArray = np.log(affinity.matrix) if affinity.measure == "lift" else affinity.matrix
    objects = int(counts.instance_counts.sum())
    if found:
        gain = affinity.structure.prior_log_loss - affinity.structure.log_loss
        verdict = f"structure found, {gain:.2f} nats a hidden category better than the prior"
    else:
        verdict = "no structure found: what else is in an image says no more than the prior"
    name = f"{dataset}: " if dataset else ""
    shown = np.sort(np.argsort(-counts.counts, kind="stable")[:_MAX_SHOWN])
    part = f", the {len(shown)} commonest of {len(values)} categories" if len(shown) < len(values) else ""
    title = f"{name}affinity by {affinity.measure}{part}\n{counts.num_scenes:,} images, {objects:,} objects\n{verdict}"
    same = "dark grey: the same category"
    chance = "" if affinity.measure == CLIP and found else "pale grey: no more than chance explains\n"
    heat_map(
        values[np.ix_(shown, shown)],
        [affinity.names[k] for k in shown],
        path=path,
        title=title,
        scale=scale_of(affinity),
        told=told[np.ix_(shown, shown)],
        note=chance + same,
    )


def _plain_factor(value: float) -> str:
    """Return a factor, given by its logarithm, without the sign of multiplication."""
    return factor_text(value).removeprefix("× ")
