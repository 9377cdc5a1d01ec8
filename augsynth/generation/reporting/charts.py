"""Small drawings of a page as SVG: they take their colours from the page, light or dark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

_BINS = 40
_WIDTH, _HALF = 240, 26


def score_chart(real: Sequence[float], painted: Sequence[float], threshold: float | None) -> Markup:
    """Return the distributions of scores in [0, 1]: of real objects above the line, of painted ones below it.

    Args:
        real, painted: Scores; each side is as high as its fullest bin.
        threshold: Drawn as a line.
    """
    bars = [*_bars(real, up=True), *_bars(painted, up=False)]
    line = ""
    if threshold is not None:
        x = round(threshold * _WIDTH, 1)
        line = f'<line class="limit" x1="{x}" x2="{x}" y1="0" y2="{2 * _HALF}"/>'
    words = _words(real, painted, threshold)
    return Markup(
        f'<svg class="scores" role="img" viewBox="0 0 {_WIDTH} {2 * _HALF}" aria-label="{words}">'
        f'<title>{words}</title><line class="axis" x1="0" x2="{_WIDTH}" y1="{_HALF}" y2="{_HALF}"/>'
        f"{''.join(bars)}{line}</svg>"
    )


def _bars(scores: Sequence[float], *, up: bool) -> list[str]:
    if not len(scores):
        return []
    counts, _ = np.histogram(np.clip(scores, 0, 1), bins=_BINS, range=(0, 1))
    heights = counts / counts.max() * (_HALF - 2)
    wide = _WIDTH / _BINS
    kind = "real" if up else "painted"
    return [
        f'<rect class="{kind}" x="{k * wide:g}" width="{wide - 1:g}" '
        f'y="{_HALF - height if up else _HALF:.1f}" height="{height:.1f}"/>'
        for k, height in enumerate(heights.tolist())
        if height
    ]


def _words(real: Sequence[float], painted: Sequence[float], threshold: float | None) -> str:
    parts = [
        f"{len(scores)} {name}, median score {np.median(scores):.2f}"
        for name, scores in (("real objects", real), ("painted objects", painted))
        if len(scores)
    ]
    if threshold is not None:
        parts.append(f"threshold {threshold:.2f}")
    return "; ".join(parts) or "no scores"
