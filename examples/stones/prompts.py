"""Prompts as a hurried hand gives them, drawn around a true outline."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from examples.demo.truth import Mask
from hilum import Box, Point


def inner_click(outline: Mask, random: np.random.Generator) -> Point:
    """A click that was meant for the middle: any pixel at least half as deep in the outline as the deepest."""
    depth = ndimage.distance_transform_edt(outline)
    y, x = random.permutation(np.argwhere(depth >= depth.max() / 2))[0]
    return Point(float(x), float(y))


def loose_box(outline: Mask, random: np.random.Generator, jitter_px: float) -> Box:
    """The outline's bounding box, each edge moved by up to `jitter_px` but at most to a pixel from the box's middle."""
    rows, columns = np.flatnonzero(outline.any(axis=1)), np.flatnonzero(outline.any(axis=0))
    low, high = np.array([columns[0], rows[0]]) - 0.5, np.array([columns[-1], rows[-1]]) + 0.5
    middle = (low + high) / 2
    x_min, y_min = (float(edge) for edge in np.minimum(low + random.uniform(-jitter_px, jitter_px, 2), middle - 1))
    x_max, y_max = (float(edge) for edge in np.maximum(high + random.uniform(-jitter_px, jitter_px, 2), middle + 1))
    return Box(x_min, y_min, x_max, y_max)
