"""Boxes, clicks and overlap in the plane of an image; pixel centres at integers, box edges continuous."""

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask, Box, Point


def iou(truth: BoolMask, mask: BoolMask) -> float:
    """Intersection over union; 1 where both are empty."""
    union = int(np.count_nonzero(truth | mask))
    return int(np.count_nonzero(truth & mask)) / union if union else 1.0


def box_iou(box: Box | None, truth: Box) -> float:
    """Intersection over union of two boxes; 0 for no box."""
    if box is None:
        return 0.0
    width = min(box.x_max, truth.x_max) - max(box.x_min, truth.x_min)
    height = min(box.y_max, truth.y_max) - max(box.y_min, truth.y_min)
    common = max(width, 0.0) * max(height, 0.0)
    return common / (area(box) + area(truth) - common)


def area(box: Box) -> float:
    """In square pixels."""
    return (box.x_max - box.x_min) * (box.y_max - box.y_min)


def contains(box: Box, point: tuple[float, float] | None) -> bool:
    """Whether a point (x, y) lies in a box; no point lies nowhere."""
    return point is not None and box.x_min <= point[0] <= box.x_max and box.y_min <= point[1] <= box.y_max


def filled(box: Box, size: tuple[int, int]) -> BoolMask:
    """The pixels whose centres lie in a box, (height, width) bool; at least the one nearest its centre."""
    mask = np.zeros(size, np.bool_)
    rows = _inside(box.y_min, box.y_max, size[0])
    columns = _inside(box.x_min, box.x_max, size[1])
    mask[rows, columns] = True
    return mask


def clipped(edges: NDArray[np.float64], size: tuple[int, int]) -> Box:
    """A box of edges (x_min, y_min, x_max, y_max) in any order, inside the image, at least a pixel wide and high."""
    x_min, x_max = _side(edges[0], edges[2], size[1])
    y_min, y_max = _side(edges[1], edges[3], size[0])
    return Box(x_min, y_min, x_max, y_max)


def jittered(box: Box, most: float | NDArray[np.float64], size: tuple[int, int], random: np.random.Generator) -> Box:
    """A box with each edge moved by up to `most` px, one number or (4,), uniformly, inside the image."""
    return clipped(edges(box) + random.uniform(-1, 1, 4) * most, size)


def grown(box: Box, margin: float, size: tuple[int, int]) -> Box:
    """A box with `margin` px added on each side, inside the image."""
    return clipped(edges(box) + np.array([-margin, -margin, margin, margin]), size)


def loosened(
    box: Box, *, margin: float, shift: float, scale: float, size: tuple[int, int], random: np.random.Generator
) -> Box:
    """BreastSAM's ground prompt: grown by `margin` px a side, then scaled by up to +-`scale`, then shifted.

    Args:
        box: the tight box.
        margin: px added on each side.
        shift: most px of the shift along each axis, uniform.
        scale: most relative change of each side's length, uniform.
        size: (height, width) of the image; the result is cut off at its border.
        random: source of chance.
    """
    x, y = (box.x_min + box.x_max) / 2, (box.y_min + box.y_max) / 2
    width, height = box.x_max - box.x_min + 2 * margin, box.y_max - box.y_min + 2 * margin
    across, down = random.uniform(1 - scale, 1 + scale, 2) * (width, height) / 2
    dx, dy = random.uniform(-shift, shift, 2)
    return clipped(np.array([x + dx - across, y + dy - down, x + dx + across, y + dy + down]), size)


def square_at(point: Point, side: float, size: tuple[int, int]) -> Box:
    """A square around a point, cut off at the image's border."""
    half = side / 2
    return clipped(np.array([point.x - half, point.y - half, point.x + half, point.y + half]), size)


def deepest(mask: BoolMask) -> Point:
    """The pixel of a mask, not empty, farthest from the background, the image's border being background; the first."""
    rows, columns = _window(mask)
    inside = np.pad(mask[rows, columns], 1).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    # Squares of distances are whole numbers. OpenCV's roots of them differ in the last digit from one call to the next
    # in small images and on one thread, and with them the first of several.
    squared = np.rint(np.square(depth, dtype=np.float64))
    y, x = np.unravel_index(int(squared.argmax()), depth.shape)
    return Point(float(x + columns.start), float(y + rows.start))


def largest_error(truth: BoolMask, mask: BoolMask) -> tuple[BoolMask, bool] | None:
    """The largest 8-connected component of what a mask lacks or has too much, and whether it is lacking; None if equal.

    Of equally large ones what is lacking comes first.
    """
    wrong = truth ^ mask
    if not wrong.any():
        return None
    window = _window(wrong)
    best, best_area, best_is_missing = wrong[window], 0, True
    for error, is_missing in (((wrong & truth)[window], True), ((wrong & mask)[window], False)):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(error.astype(np.uint8), connectivity=8)
        sizes = stats[1:, cv2.CC_STAT_AREA]
        if sizes.size and int(sizes.max()) > best_area:
            best_area, best, best_is_missing = int(sizes.max()), labels == 1 + int(sizes.argmax()), is_missing
    component = np.zeros(truth.shape, np.bool_)
    component[window] = best
    return component, best_is_missing


def next_click(truth: BoolMask, mask: BoolMask) -> Point | None:
    """The deepest point of the largest error: foreground where the mask lacks it; None where there is no error."""
    error = largest_error(truth, mask)
    if error is None:
        return None
    point = deepest(error[0])
    return Point(point.x, point.y, error[1])


def edges(box: Box) -> NDArray[np.float64]:
    """(x_min, y_min, x_max, y_max)."""
    return np.array([box.x_min, box.y_min, box.x_max, box.y_max], np.float64)


def _window(mask: BoolMask) -> tuple[slice, slice]:
    """Rows and columns of a mask's pixels, from even ones on: OpenCV numbers components by an image's 2 x 2 blocks."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(int(rows[0]) // 2 * 2, int(rows[-1]) + 1),
        slice(int(columns[0]) // 2 * 2, int(columns[-1]) + 1),
    )


def _inside(low: float, high: float, length: int) -> slice:
    first, last = int(np.ceil(low)), int(np.floor(high))
    if first > last:
        first = last = round((low + high) / 2)
    return slice(min(max(first, 0), length - 1), min(max(last, 0), length - 1) + 1)


def _side(low: float, high: float, length: int) -> tuple[float, float]:
    first = float(np.clip(min(low, high), -0.5, length - 1.5))
    return first, float(np.clip(max(low, high), first + 1, length - 0.5))
