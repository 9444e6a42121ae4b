"""COCO's segmentations as masks: polygons, run lengths, and run lengths in COCO's text form.

COCO's coordinates start at the image's corner, ours at the centre of the first pixel: they differ by half a pixel.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.errors import InvalidTensor
from hilum.masks import decode_rle
from hilum.types import BoolMask


def segmentation_mask(segmentation: Any, size: tuple[int, int]) -> BoolMask:
    """Returns the mask of an annotation's `segmentation`.

    Args:
        segmentation: A list of polygons [x1, y1, x2, y2, ...], whose union is meant, or {"size": [height, width],
            "counts": numbers or text}.
        size: (height, width) of the image.

    Raises:
        ValueError: It is neither, or does not fit the image.
    """
    if isinstance(segmentation, dict):
        if tuple(segmentation.get("size", ())) != size:
            raise ValueError(f"its run lengths are for {segmentation.get('size')} (height, width), the image is {size}")
        counts = segmentation.get("counts")
        try:
            return decode_rle(text_counts(counts) if isinstance(counts, str) else counts or (), size)
        except (InvalidTensor, TypeError) as error:
            raise ValueError(f"its run lengths are damaged: {error}") from error
    mask = np.zeros(size, np.bool_)
    for polygon in segmentation:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon is a list x1, y1, x2, y2, ... of at least three corners")
        corners = np.asarray(polygon, np.float64).reshape(-1, 2) - 0.5
        if not np.isfinite(corners).all():
            raise ValueError("a polygon has corners that are not finite")
        mask |= polygon_mask(corners, size)
    return mask


def polygon_mask(corners: NDArray[np.float64], size: tuple[int, int]) -> BoolMask:
    """Returns the pixels whose centres lie inside a polygon, by the even-odd rule.

    cv2.fillPoly and Pillow also paint the pixels that the outline touches, which makes small targets too large.

    Args:
        corners: (n, 2) as (x, y), pixel centres at integers.
        size: (height, width).
    """
    height, width = size
    # Edges that cross a row at or left of each pixel's centre; the last column takes those beyond the image.
    crossings = np.zeros((height, width + 1), np.int64)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        # A row at a corner belongs to the edge below it, once.
        first, end = np.clip(np.ceil(sorted((y0, y1))), 0, height).astype(int)
        rows = np.arange(first, end)
        x = np.ceil(x0 + (rows - y0) * ((x1 - x0) / (y1 - y0)))
        crossings[rows, np.clip(x, 0, width).astype(int)] += 1
    inside: BoolMask = np.cumsum(crossings[:, :width], axis=1) % 2 == 1
    return inside


def text_counts(text: str) -> list[int]:
    """Returns the run lengths in COCO's text form.

    Five bits per character from 48 on, the sixth says that more follow; from the fourth on, counts are differences from
    the last but one. Source: rleFrString of cocoapi's maskApi.c, 2014.

    Raises:
        ValueError: The text holds other characters, or ends within a number.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise ValueError("its run lengths are no text of COCO's form")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its run lengths end within a number")
    return counts
