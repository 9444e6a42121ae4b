"""Binary masks: their two encodings in the contract, and what is measured on them.

A mask is (height, width) bool, of the full image. Pixel centres lie at integers, so the pixel (x, y) covers
[x - .5, x + .5] x [y - .5, y + .5].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.errors import InvalidTensor
from hilum.geometry import ImageGeometry
from hilum.types import BoolMask, Box

# No mask is decoded beyond this; as many pixels as one message can carry at two bytes each.
MAX_PIXELS = 1 << 25


@dataclass(frozen=True)
class Diameter:
    """A straight line across a mask; ends (x, y) in pixels of the full image."""

    length: float
    start: tuple[float, float]
    end: tuple[float, float]


def encode_rle(mask: BoolMask) -> NDArray[np.uint32]:
    """Returns COCO's uncompressed run lengths: column-major, starting with background.

    The first count is 0 when the first pixel is foreground. Source: `CocoRle` of the contract.
    """
    _require_mask(mask)
    flat = np.ravel(mask, order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0] if flat[0] else [], [0], changes, [flat.size]])
    return np.diff(edges).astype(np.uint32)


def decode_rle(counts: Sequence[int] | NDArray[np.integer], size: tuple[int, int]) -> BoolMask:
    """Returns the mask (height, width) of COCO's uncompressed run lengths.

    Args:
        counts: Run lengths, column-major, background first.
        size: (height, width).

    Raises:
        InvalidTensor: The size is out of range, or the counts are negative or do not sum to height * width.
    """
    height, width = _require_size(size)
    if len(counts) > height * width + 1:
        raise InvalidTensor(f"{len(counts)} runs cannot lie in {height}x{width} pixels", field="counts")
    runs = np.asarray(counts, dtype=np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise InvalidTensor(f"run lengths must sum to {height}*{width}={height * width}", field="counts")
    foreground = (np.arange(runs.size) & 1).astype(np.bool_)
    return np.ascontiguousarray(np.repeat(foreground, runs).reshape(width, height).T)


def pack_bits(mask: BoolMask) -> bytes:
    """Returns one bit a pixel: row-major, most significant bit first, each row padded to whole bytes."""
    _require_mask(mask)
    return np.packbits(mask, axis=1).tobytes()


def unpack_bits(data: bytes, size: tuple[int, int]) -> BoolMask:
    """Returns the mask (height, width) of `pack_bits`; padding bits are ignored.

    Raises:
        InvalidTensor: The size is out of range, or the length is not height * ceil(width / 8).
    """
    height, width = _require_size(size)
    expected = height * -(-width // 8)
    if len(data) != expected:
        raise InvalidTensor(f"{height}x{width} pixels take {expected} bytes, got {len(data)}", field="data")
    rows = np.frombuffer(data, dtype=np.uint8).reshape(height, -1)
    return np.unpackbits(rows, axis=1, count=width).view(np.bool_)


def bounding_box(mask: BoolMask) -> Box | None:
    """Returns the tight box, its edges at pixel borders, or None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    left, top, right, bottom = (float(edge) for edge in (columns[0], rows[0], columns[-1], rows[-1]))
    return Box(left - 0.5, top - 0.5, right + 0.5, bottom + 0.5)


def centroid(mask: BoolMask) -> tuple[float, float] | None:
    """Returns the mean position (x, y) of the foreground in pixels, or None for an empty mask."""
    columns, rows = mask.sum(axis=0), mask.sum(axis=1)
    total = int(rows.sum())
    if total == 0:
        return None
    return float(columns @ np.arange(columns.size)) / total, float(rows @ np.arange(rows.size)) / total


def area_mm2(mask: BoolMask, geometry: ImageGeometry) -> float | None:
    """Returns the foreground's area in the patient in mm2, or None where lengths there are not known."""
    spacing = geometry.plane_spacing_mm
    return None if spacing is None else float(np.count_nonzero(mask)) * spacing[0] * spacing[1]


def longest_diameter(mask: BoolMask, spacing: tuple[float, float] = (1.0, 1.0)) -> Diameter | None:
    """Returns the longest straight line between two points of the mask's border, or None for an empty mask.

    The border runs through the middles of pixel edges, where a contour at level .5 crosses them: a row of n pixels is
    n long, one pixel 1. This is the largest Feret diameter, exact, and the border that PyRadiomics' meshes use.

    Args:
        mask: The mask.
        spacing: (x, y) distance of pixel centres; the length is in its unit, pixels by default.
    """
    border = _border_points(mask)
    if border.size == 0:
        return None
    corners = border[_hull(border)]
    scaled = corners * np.asarray(spacing)
    squared = ((scaled[:, None] - scaled[None]) ** 2).sum(axis=2)
    first, second = np.unravel_index(int(squared.argmax()), squared.shape)
    (x0, y0), (x1, y1) = corners[first].tolist(), corners[second].tolist()
    return Diameter(float(np.sqrt(squared[first, second])), (x0, y0), (x1, y1))


def outline(mask: BoolMask) -> BoolMask:
    """Returns the foreground pixels that touch background, or the image's border, over an edge."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    border: BoolMask = mask & ~inner
    return border


def _border_points(mask: BoolMask) -> NDArray[np.float64]:
    """Middles of the outermost pixel edges of every row and column, (n, 2) as (x, y): the hull's corners are here."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left = mask[rows].argmax(axis=1) - 0.5
    right = width - 0.5 - mask[rows, ::-1].argmax(axis=1)
    top = mask[:, columns].argmax(axis=0) - 0.5
    bottom = height - 0.5 - mask[::-1, columns].argmax(axis=0)
    x = np.concatenate([left, right, columns, columns])
    y = np.concatenate([rows, rows, top, bottom])
    return np.stack([x, y], axis=1).astype(np.float64)


def _hull(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of the convex hull's corners. Source: Andrew's monotone chain, 1979."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    places = [tuple(point) for point in points.tolist()]

    def chain(indices: Sequence[int]) -> list[int]:
        corners: list[int] = []
        for index in indices:
            x, y = places[index]
            while len(corners) > 1:
                (ax, ay), (bx, by) = places[corners[-2]], places[corners[-1]]
                if (bx - ax) * (y - ay) > (by - ay) * (x - ax):
                    break
                corners.pop()
            corners.append(index)
        return corners

    forward = order.tolist()
    return np.asarray(chain(forward) + chain(forward[::-1]), dtype=np.intp)


def _require_mask(mask: BoolMask) -> None:
    if mask.ndim != 2 or mask.size == 0 or mask.dtype != np.bool_:
        raise InvalidTensor(f"a mask is a bool array (height, width), got {mask.dtype} {mask.shape}", field="mask")


def _require_size(size: tuple[int, int]) -> tuple[int, int]:
    height, width = size
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise InvalidTensor(f"a mask has 1 to {MAX_PIXELS} pixels, got {height}x{width}", field="size")
    return height, width
