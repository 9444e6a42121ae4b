"""A synthetic kidney stone: one ellipsoid or several balls grown together, of one density.

Stones are the only synthetic thing in this example. Their sizes and CT numbers are declared here, not measured.
Lengths are in mm along (depth, row, column) of a CT volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Float = NDArray[np.float64]

SIZE_MM: Final = (8.0, 20.0)
HOUNSFIELD: Final = (500.0, 1500.0)
# Of an ellipsoid: how much shorter the other two axes are. Of a ball in a lobed stone: radius as share of the size.
_SLIMNESS: Final = (0.6, 1.0)
_LOBE_RADIUS: Final = (0.25, 0.35)
_LOBES: Final = 3
# Edge of the cubes that shares of voxels are counted in.
_SAMPLE_MM: Final = 0.5


@dataclass(frozen=True, eq=False)
class Lobe:
    """An ellipsoid: the points x with |to_unit_ball (x - centre)| <= 1.

    Attributes:
        centre_mm: (3,), from the stone's middle.
        to_unit_ball: (3, 3), 1/mm.
    """

    centre_mm: Float
    to_unit_ball: Float

    def holds(self, points_mm: Float) -> NDArray[np.bool_]:
        """Which points (n, 3) lie in it; bool (n,)."""
        unit = (points_mm - self.centre_mm) @ self.to_unit_ball.T
        return np.asarray((unit**2).sum(axis=1) <= 1)


@dataclass(frozen=True, eq=False)
class Stone:
    """A stone about its middle.

    Attributes:
        size_mm: its longest extent.
        hounsfield: its CT number.
        lobes: what it is made of, within a ball of its size.
    """

    size_mm: float
    hounsfield: float
    lobes: tuple[Lobe, ...]

    @property
    def kind(self) -> str:
        """What it is called in tables."""
        return "lobed" if len(self.lobes) > 1 else "ellipsoid"

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Stone:
        """Draw size, CT number, shape (an ellipsoid as often as lobes) and attitude uniformly."""
        size, hounsfield = float(random.uniform(*SIZE_MM)), float(random.uniform(*HOUNSFIELD))
        turn = np.asarray(Rotation.random(random_state=random).as_matrix())
        if random.random() < 0.5:
            semi_axes = size / 2 * np.array([1.0, *random.uniform(*_SLIMNESS, 2)])
            return cls(size, hounsfield, (Lobe(np.zeros(3), turn.T / semi_axes[:, None]),))
        radii = size * random.uniform(*_LOBE_RADIUS, _LOBES)
        # The first two touch the ends of the longest extent; no lobe leaves the ball that has it for a diameter.
        along, across = turn[:, 0], turn[:, 1]
        directions = (along, -along, across)
        lobes = [
            Lobe((size / 2 - radius) * direction, np.eye(3) / radius)
            for radius, direction in zip(radii, directions, strict=True)
        ]
        return cls(size, hounsfield, tuple(lobes))

    def rasterised(self, spacing_mm: tuple[float, float, float], offset_mm: Float) -> RasterisedStone:
        """Count what share of each voxel the stone fills.

        Args:
            spacing_mm: voxel size (depth, row, column).
            offset_mm: (3,), of the stone's middle from the middle voxel's centre.
        """
        spacing = np.asarray(spacing_mm)
        parts = np.ceil(spacing / _SAMPLE_MM).astype(int)
        half = np.ceil((self.size_mm / 2 + np.abs(offset_mm)) / spacing).astype(int)
        axes = [(np.arange((2 * n + 1) * part) + 0.5) / part - 0.5 - n for n, part in zip(half, parts, strict=True)]
        samples = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        flat = samples.reshape(-1, 3)
        inside = np.zeros(len(flat), np.bool_)
        for lobe in self.lobes:
            inside |= lobe.holds(flat * spacing - offset_mm)
        (a, b, c), (i, j, k) = 2 * half + 1, parts
        share = inside.reshape(a, i, b, j, c, k).mean(axis=(1, 3, 5))
        return RasterisedStone(share, flat[inside].mean(axis=0))


@dataclass(frozen=True, eq=False)
class RasterisedStone:
    """A stone in voxels.

    Attributes:
        share: float64 in [0, 1], odd sides: how much of each voxel is stone.
        centroid: (3,), the stone's centre of mass in voxels from the middle voxel's centre.
    """

    share: Float
    centroid: Float
