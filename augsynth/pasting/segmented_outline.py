"""The outline of a cut-out that has only a box, with more time than a data loader has: GrabCut first.

GrabCut (Rother, Kolmogorov and Blake 2004; OpenCV's) starts from an ellipse in the box and knows that what lies around
the box isn't the object. Where it finds too little or too much, the estimate for data loaders is asked.
"""

from __future__ import annotations

import cv2
import numpy as np

from augsynth.core.masks import bounds_of
from augsynth.pasting.estimated_outline import with_outline
from augsynth.pasting.patch import Patch

_LEAST_SIDE = 64  # smaller cut-outs are enlarged before
_ROUNDS = 4
_MIN_MARGIN = 40  # pixels
_SURE_RADIUS = 0.25
_MIN_EXTENT, _MIN_SHARE, _MAX_SHARE = 0.8, 0.25, 0.97


def best_outline(patch: Patch) -> Patch:
    """Return the patch with its own outline, with one that is found, or as it is where none is.

    Args:
        patch: A cut-out with a margin around its box.
    """
    if patch.has_mask:
        return patch
    return _grab_cut(patch) or with_outline(patch) or patch


def _grab_cut(patch: Patch) -> Patch | None:
    height, width = patch.alpha.shape
    zoom = max(1.0, _LEAST_SIDE / max(height, width))
    size = round(width * zoom), round(height * zoom)
    image = cv2.resize(np.ascontiguousarray(patch.image), size, interpolation=cv2.INTER_CUBIC)
    box = patch.box_xyxy * np.tile([size[0] / width, size[1] / height], 2)
    half = (box[2:] - box[:2]) / 2
    x = (np.arange(size[0]) + 0.5 - (box[0] + box[2]) / 2) / half[0]
    y = ((np.arange(size[1]) + 0.5 - (box[1] + box[3]) / 2) / half[1])[:, None]
    inside, radius = np.maximum(np.abs(x), np.abs(y)) <= 1, np.hypot(x, y)
    if np.count_nonzero(~inside) < _MIN_MARGIN:
        return None
    guess = np.full(inside.shape, cv2.GC_BGD, np.uint8)
    guess[inside] = cv2.GC_PR_BGD
    guess[inside & (radius < 1)] = cv2.GC_PR_FGD
    guess[radius < _SURE_RADIUS] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # its mixtures start at random
    cv2.grabCut(image, guess, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    outlines, _ = cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return None
    whole = np.zeros(found.shape, np.uint8)
    cv2.drawContours(whole, [max(outlines, key=cv2.contourArea)], 0, 1, cv2.FILLED)
    bounds = bounds_of(whole > 0)
    share = np.count_nonzero(whole) / float(4 * half.prod())
    if bounds is None or not _MIN_SHARE <= share <= _MAX_SHARE:
        return None
    if ((bounds[2:] - bounds[:2]) < _MIN_EXTENT * 2 * half).any():
        return None
    soft = cv2.GaussianBlur(whole.astype(np.float32) * 255, (0, 0), 0.8 * zoom)
    alpha = cv2.resize(soft, (width, height), interpolation=cv2.INTER_AREA)
    return Patch(patch.image, np.asarray(np.clip(alpha, 0, 255), np.uint8), patch.box_xyxy, True, True)
