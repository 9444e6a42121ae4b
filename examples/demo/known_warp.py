"""Warps that are known exactly: an affine motion and a cubic B-spline, as a patient turns, breathes and bends."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Points = NDArray[np.float64]

ROTATION_DEG = 10.0
SCALE = 0.10
SHIFT_PX = 20.0
KNOT_SPACING_PX = 48.0
PEAK_PX = (6.0, 12.0)
_MIN_JACOBIAN = 0.25
_NEWTON_STEPS = 12


@dataclass(frozen=True, eq=False)
class KnownWarp:
    """An affine motion after a bend; lengths in pixels of a grid (height, width).

    The bend B adds a cubic B-spline to each position; the moving image shows at y what the fixed one shows at
    B(A^-1 y). So fixed_to_moving is A o B^-1, which no registration that adds splines to positions can reach exactly.

    Attributes:
        size: (height, width) of the grid that the bend covers; beyond it the bend continues as at the edge.
        rotation_deg: of the motion, about the grid's centre; positive turns x towards y.
        scale: of the motion, isotropic.
        ratio: the body is first made longer along x by its root, shorter along y.
        shift_px: (x, y), last.
        knots: float64 (2, rows, columns), x and y offsets of the control points, the first a knot spacing before
            the first pixel.
    """

    size: tuple[int, int]
    rotation_deg: float
    scale: float
    ratio: float
    shift_px: tuple[float, float]
    knots: NDArray[np.float64]

    @classmethod
    def from_seed(cls, seed: int, size: tuple[int, int], *, reach: float = 1.0) -> KnownWarp:
        """Draw uniformly from +-10 degrees, +-10 % along each axis, +-20 px and bends of 6 to 12 px at their peak.

        Bends that compress anything below a quarter of its area are drawn again.

        Args:
            seed: of the draw.
            size: (height, width) of the grid in pixels of which 256 cover the longer side.
            reach: scales rotation and shift, for harder sets.
        """
        random = np.random.default_rng(seed)
        rotation = random.uniform(-ROTATION_DEG, ROTATION_DEG) * reach
        along_x, along_y = random.uniform(1 - SCALE, 1 + SCALE, 2)
        x, y = random.uniform(-SHIFT_PX, SHIFT_PX, 2) * reach
        shape = (2, *(int(side / KNOT_SPACING_PX) + 4 for side in size))
        while True:
            knots = _with_peak(random.uniform(-1, 1, shape), size, random.uniform(*PEAK_PX))
            warp = cls(size, rotation, float(np.sqrt(along_x * along_y)), along_x / along_y, (x, y), knots)
            if warp.smallest_jacobian() >= _MIN_JACOBIAN:
                return warp

    @property
    def stretch(self) -> NDArray[np.float64]:
        """The change of the ratio, float64 (3, 3) on (x, y, 1)."""
        return self._about_centre(np.diag([np.sqrt(self.ratio), 1 / np.sqrt(self.ratio)]))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """A, float64 (3, 3) on (x, y, 1): stretch, then rotation and scale, then shift."""
        angle = np.deg2rad(self.rotation_deg)
        turn = self.scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = self._about_centre(turn)
        moved[:2, 2] += self.shift_px
        return np.asarray(moved @ self.stretch, np.float64)

    def _about_centre(self, linear: NDArray[np.float64]) -> NDArray[np.float64]:
        centre = np.array([(self.size[1] - 1) / 2, (self.size[0] - 1) / 2])
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = centre - linear @ centre
        return matrix

    def around(self, centre: tuple[float, float], radius_px: float) -> KnownWarp:
        """The same motion without a stretch, bending by as much at its peak, but around a point (x, y) only.

        Control points lose weight with their distance and have none from the radius on; a spline reaches 1.5 knot
        spacings further before less than 3 % of it are left.
        """
        rows, columns = np.indices(self.knots.shape[1:])
        x, y = (columns - 1) * KNOT_SPACING_PX - centre[0], (rows - 1) * KNOT_SPACING_PX - centre[1]
        weight = 0.5 + 0.5 * np.cos(np.pi * np.minimum(np.hypot(x, y) / radius_px, 1))
        knots = _with_peak(self.knots * weight, self.size, _peak_px(self.knots, self.size))
        return replace(self, ratio=1.0, knots=knots)

    def bend(self, points: Points) -> Points:
        """B of points (..., 2)."""
        return points + _spline(self.knots, points)

    def moving_to_fixed(self, points: Points) -> Points:
        """Where in the fixed image the points (..., 2) of the moving one lie, exactly."""
        return self.bend(mapped(np.asarray(np.linalg.inv(self.matrix), np.float64), points))

    def straightened(self, points: Points) -> Points:
        """B^-1 of points (..., 2), by Newton's method to about 1e-9 px."""
        unbent = points.copy()
        for _ in range(_NEWTON_STEPS):
            residual = points - self.bend(unbent)
            unbent = unbent + np.linalg.solve(self._bend_jacobian(unbent), residual[..., None])[..., 0]
        return unbent

    def fixed_to_moving(self, points: Points) -> Points:
        """Where in the moving image the points (..., 2) of the fixed one lie."""
        return mapped(self.matrix, self.straightened(points))

    def smallest_jacobian(self) -> float:
        """The least determinant of the bend's Jacobian over the grid."""
        return float(np.linalg.det(self._bend_jacobian(pixel_grid(self.size))).min())

    def _bend_jacobian(self, points: Points, step: float = 1e-4) -> NDArray[np.float64]:
        columns = [
            (self.bend(points + offset) - self.bend(points - offset)) / (2 * step) for offset in step * np.eye(2)
        ]
        return np.stack(columns, axis=-1)


def mapped(matrix: NDArray[np.float64], points: Points) -> Points:
    """Points (..., 2) through an affine matrix (3, 3) on (x, y, 1)."""
    return np.asarray(points @ matrix[:2, :2].T + matrix[:2, 2], np.float64)


def pixel_grid(size: tuple[int, int]) -> Points:
    """(height, width, 2): the (x, y) of every pixel."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    return np.stack([x, y], axis=-1)


def sample(image: NDArray[np.float64], points: Points, order: int = 3, outside: float | None = None) -> Points:
    """The image at points (..., 2) by splines; beyond its edge it repeats it, or is `outside`."""
    mode = "nearest" if outside is None else "constant"
    coordinates = (points[..., 1], points[..., 0])
    return np.asarray(ndimage.map_coordinates(image, coordinates, order=order, mode=mode, cval=outside or 0.0))


def _spline(knots: NDArray[np.float64], points: Points) -> Points:
    coordinates = (points[..., 1] / KNOT_SPACING_PX + 1, points[..., 0] / KNOT_SPACING_PX + 1)
    offsets = [ndimage.map_coordinates(k, coordinates, order=3, mode="nearest", prefilter=False) for k in knots]
    return np.stack(offsets, axis=-1)


def _with_peak(knots: NDArray[np.float64], size: tuple[int, int], peak_px: float) -> NDArray[np.float64]:
    return np.asarray(knots * (peak_px / _peak_px(knots, size)), np.float64)


def _peak_px(knots: NDArray[np.float64], size: tuple[int, int]) -> float:
    return float(np.linalg.norm(_spline(knots, pixel_grid(size)), axis=-1).max())
