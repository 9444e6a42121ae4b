"""Masks that follow intensities: Otsu's threshold for targets brighter than what is around them.

It acts on the prompt's box (or the mask's own bounds) plus 3 px only, and only where the intensities there fall into
two clear modes; otherwise the model's mask stays, with the reason. Source of the threshold and of the separability
measure: N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9 (1979).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hilum.types import Box

MARGIN_PX = 3
MIN_SEPARABILITY = 0.6
MIN_CONTRAST_IN_SIGMAS = 3.0
MIN_OVERLAP = 0.25
MIN_WHOLE = 0.9
_BINS = 256


class Outcome(Enum):
    """What refinement did; numbers as hilum.v1.RefinementOutcome."""

    APPLIED = 1
    KEPT_EMPTY = 2
    KEPT_NOT_COVERED = 3
    KEPT_LOW_CONTRAST = 4
    KEPT_DISAGREES = 5


@dataclass(frozen=True)
class Patch:
    """Intensities around a target: values (height, width), their first pixel at (x, y) of the full image."""

    values: NDArray[Any]
    x: int
    y: int


def refine_bright(mask: NDArray[np.bool_], box: Box | None, patch: Patch) -> tuple[NDArray[np.bool_] | None, Outcome]:
    """Returns the refined mask, or None and why the model's mask is kept.

    Args:
        mask: The model's mask of the full image (height, width).
        box: The prompt's box, if it has one.
        patch: Stored or HU values that cover the box, or the mask's bounds, and 3 px around.
    """
    if not mask.any():
        return None, Outcome.KEPT_EMPTY
    domain = _domain(mask, box)
    rows, columns = domain
    height, width = patch.values.shape
    if (
        rows.start < patch.y
        or columns.start < patch.x
        or rows.stop > patch.y + height
        or columns.stop > patch.x + width
    ):
        return None, Outcome.KEPT_NOT_COVERED
    values = patch.values[
        rows.start - patch.y : rows.stop - patch.y, columns.start - patch.x : columns.stop - patch.x
    ].astype(np.float64)
    threshold, separability = otsu(values)
    bright = values > threshold
    if not bright.any() or bright.all() or separability < MIN_SEPARABILITY:
        return None, Outcome.KEPT_LOW_CONTRAST
    spread = float(values[~bright].std())
    if float(values[bright].mean() - values[~bright].mean()) < MIN_CONTRAST_IN_SIGMAS * spread:
        return None, Outcome.KEPT_LOW_CONTRAST
    inside = mask[domain]
    kept = _whole(bright, inside)
    if kept is None:
        return None, Outcome.KEPT_DISAGREES
    # Not zeros_like, which writes every page of a large image.
    refined = np.zeros(mask.shape, np.bool_)
    refined[domain] = kept
    return refined, Outcome.APPLIED


def _whole(bright: NDArray[np.bool_], inside: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Returns the bright component under the mask, holes filled; None where it is not the mask's target.

    That is so where what lies under the mask is in pieces, or where the component overlaps the mask too little. A stone
    is one piece. Bright pixels scattered over an organ are its texture, and would shred its mask.
    """
    _, components = cv2.connectedComponents(bright.astype(np.uint8), connectivity=8)
    overlaps = np.bincount(components[inside & bright], minlength=1)
    overlaps[0] = 0
    if overlaps.max() < MIN_WHOLE * max(1, int(overlaps.sum())) or not overlaps.any():
        return None
    whole = np.asarray(ndimage.binary_fill_holes(components == overlaps.argmax()), np.bool_)
    agrees = np.count_nonzero(whole & inside) >= MIN_OVERLAP * np.count_nonzero(whole | inside)
    return whole if agrees else None


def otsu(values: NDArray[np.float64]) -> tuple[float, float]:
    """Returns the threshold of largest between-class variance, and that variance's share of the whole in [0, 1]."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low, 0.0
    histogram, edges = np.histogram(values, bins=_BINS, range=(low, high))
    share = histogram / histogram.sum()
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(share)[:-1]
    mean_below = np.cumsum(share * centres)[:-1]
    mean = float((share * centres).sum())
    weight = below * (1 - below)
    between = np.where(weight > 0, (mean * below - mean_below) ** 2 / np.maximum(weight, 1e-12), 0)
    total = float((share * (centres - mean) ** 2).sum())
    # A gap between the modes gives a plateau; its middle is the threshold.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    threshold = float(edges[1 + int(best[len(best) // 2])])
    return threshold, float(between.max() / total) if total > 0 else 0.0


def _domain(mask: NDArray[np.bool_], box: Box | None) -> tuple[slice, slice]:
    height, width = mask.shape
    if box is None:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
    else:
        top, bottom = np.floor(box.y_min + 0.5), np.ceil(box.y_max - 0.5)
        left, right = np.floor(box.x_min + 0.5), np.ceil(box.x_max - 0.5)
    return (
        slice(max(0, int(top) - MARGIN_PX), min(height, int(bottom) + MARGIN_PX + 1)),
        slice(max(0, int(left) - MARGIN_PX), min(width, int(right) + MARGIN_PX + 1)),
    )
