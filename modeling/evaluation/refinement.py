"""The decoder service's refinement of bright targets, in this process.

The definition is services/decoder/refinement.py; a test holds that the masks are the same. It is written again because
modeling must not import the services.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hilum.masks import bounding_box
from hilum.types import BoolMask, Box

MARGIN_PX = 3
BINS = 256
# Below these two the intensities have no clear modes: share of the variance that the threshold explains, and distance
# of the modes in standard deviations of the darker one.
LEAST_SEPARABILITY, LEAST_CONTRAST = 0.6, 3.0
# Below these two the bright object is not the mask's: share of the bright pixels under the mask that are one object,
# and IoU of that object with the mask.
LEAST_WHOLE, LEAST_OVERLAP = 0.9, 0.25


def follow_intensities(mask: BoolMask, box: Box | None, intensities: NDArray[np.uint8]) -> BoolMask:
    """The bright object under a mask, found by Otsu's threshold in the prompt's box or the mask's own, and 3 px around.

    Args:
        mask: (height, width), the model's.
        box: the prompt's, in pixels; None for the mask's tight box.
        intensities: (height, width), of the whole image.

    Returns:
        The object (height, width), or the mask itself where the service keeps that: it is empty, the intensities have
        no two clear modes, or the bright object is not the mask's.
    """
    domain = box or bounding_box(mask)
    if domain is None or not mask.any():
        return mask
    window = _window(domain, mask.shape)
    bright = _bright(intensities[window].astype(np.float64))
    whole = None if bright is None else _object(bright, mask[window])
    if whole is None:
        return mask
    moved = np.zeros(mask.shape, np.bool_)
    moved[window] = whole
    return moved


def _window(box: Box, size: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the pixels whose area a box covers at least by half, and 3 px around."""
    edges = ((box.y_min, box.y_max, size[0]), (box.x_min, box.x_max, size[1]))
    rows, columns = (
        slice(max(0, int(np.floor(low + 0.5)) - MARGIN_PX), min(length, int(np.ceil(high - 0.5)) + MARGIN_PX + 1))
        for low, high, length in edges
    )
    return rows, columns


def _bright(values: NDArray[np.float64]) -> BoolMask | None:
    """Pixels above Otsu's threshold; None where there are no two clear modes."""
    threshold, separability = _otsu(values)
    bright = values > threshold
    if separability < LEAST_SEPARABILITY or not bright.any() or bright.all():
        return None
    light, dark = values[bright], values[~bright]
    return bright if light.mean() - dark.mean() >= LEAST_CONTRAST * dark.std() else None


def _object(bright: BoolMask, inside: BoolMask) -> BoolMask | None:
    """The bright component (8-connected) under the mask, holes filled; None where it is not the mask's target."""
    _, components = cv2.connectedComponents(bright.astype(np.uint8), connectivity=8)
    under = np.bincount(components[inside & bright], minlength=1)
    if not under.any() or under.max() < LEAST_WHOLE * under.sum():
        return None
    whole = np.asarray(ndimage.binary_fill_holes(components == under.argmax()), np.bool_)
    overlap = np.count_nonzero(whole & inside) / np.count_nonzero(whole | inside)
    return whole if overlap >= LEAST_OVERLAP else None


def _otsu(values: NDArray[np.float64]) -> tuple[float, float]:
    """The threshold of largest variance between classes, and that variance's share of the whole."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low, 0.0
    counts, edges = np.histogram(values, BINS, (low, high))
    share, centres = counts / counts.sum(), (edges[:-1] + edges[1:]) / 2
    mean, below, moment = float(share @ centres), np.cumsum(share)[:-1], np.cumsum(share * centres)[:-1]
    between = (mean * below - moment) ** 2 / np.maximum(below * (1 - below), 1e-12)
    # A gap between the modes gives a plateau; its middle is the threshold.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1 + best[len(best) // 2]]), float(between.max() / (share @ (centres - mean) ** 2))
