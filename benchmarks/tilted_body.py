"""A body turned out of the detector's plane: what a parallel beam makes of it, and where its points lie then.

A parallel projection of a turned volume is a sum over its slices, each moved in the plane by how deep it lies: with R
the rotation, a point (x, y, z) is seen at R[:2, :2] (x, y) + R[:2, 2] z, and a ray is 1 / R[2, 2] as long in each slice
(Joseph, IEEE Trans. Med. Imaging 1 (1982) 192).

No planar map is then right for all of a ray's points. The truth of a pixel is where the mean of its ray's tissue is
seen, by mass; `spread_px` says how far from that place the ray's other points are: what no registration can reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from examples.demo.ct_volume import CtVolume
from examples.demo.known_warp import Points, mapped, pixel_grid, sample
from examples.demo.simulated_xray import BONE_G_CM3, SOFT_G_CM3, MaterialPaths, material_shares
from examples.demo.working_grid import WorkingGrid

OUT_OF_PLANE_DEG: Final = 3.0
# Slices are added up to about this thickness.
_SLICE_MM: Final = 3.0

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TiltedBody:
    """A CT's two materials in thick coronal slices, ready to be turned.

    Attributes:
        slices: float32 (2, slices, rows, columns), soft tissue and bone in g/cm2 along the depth of each slice.
        depth_mm: (slices,), from the middle of the volume.
        pixel_mm: 3x3, a pixel (column, row, 1) of the volume to mm (x, y, 1) from its middle.
    """

    slices: NDArray[np.float32]
    depth_mm: Float
    pixel_mm: Float

    @classmethod
    def of(cls, volume: CtVolume) -> TiltedBody:
        """Split a CT into materials and add its slices up."""
        depth_mm, row_mm, column_mm = volume.spacing_mm
        count, rows, columns = volume.hounsfield.shape
        together = max(1, round(_SLICE_MM / depth_mm))
        slices = np.zeros((2, -(-count // together), rows, columns), np.float32)
        for index, shares in enumerate(material_shares(volume)):
            for material, (share, density) in enumerate(zip(shares, (SOFT_G_CM3, BONE_G_CM3), strict=True)):
                slices[material, index // together] += share * density * depth_mm / 10
        middles = (np.arange(slices.shape[1]) + 0.5) * together - 0.5
        pixel_mm = np.diag([column_mm, row_mm, 1.0])
        pixel_mm[:2, 2] = -(columns - 1) / 2 * column_mm, -(rows - 1) / 2 * row_mm
        return cls(slices, (middles - (count - 1) / 2) * depth_mm, pixel_mm)

    def paths(self, turn: Float) -> MaterialPaths:
        """Mass along each ray of the body after a turn; on the volume's own pixels.

        Args:
            turn: 3x3 rotation of (x, y, depth).
        """
        size = (self.slices.shape[2], self.slices.shape[3])
        places = mapped(self.pixel_mm, pixel_grid(size))
        inverse = np.linalg.inv(turn[:2, :2])
        into_pixels = np.asarray(np.linalg.inv(self.pixel_mm), np.float64)
        total = np.zeros((2, *size))
        for index, depth in enumerate(self.depth_mm):
            seen = mapped(into_pixels, (places - turn[:2, 2] * depth) @ inverse.T)
            for material in range(2):
                total[material] += ndimage.map_coordinates(
                    self.slices[material, index], (seen[..., 1], seen[..., 0]), order=1
                )
        return MaterialPaths(*(total / turn[2, 2]))

    def seen_at(self, turn: Float, grid: WorkingGrid) -> Points:
        """(height, width, 2): where on the grid, after a turn, the mean of each pixel's ray is seen."""
        into_mm = self.pixel_mm @ grid.native_from_grid
        size = (grid.height, grid.width)
        mean, _ = self._depths(grid)
        seen = mapped(into_mm, pixel_grid(size)) @ turn[:2, :2].T + mean[..., None] * turn[:2, 2]
        return mapped(np.asarray(np.linalg.inv(into_mm)), seen)

    def spread_px(self, turn: Float, grid: WorkingGrid) -> Float:
        """(height, width): root mean square distance of a ray's points from that place, in the grid's pixels."""
        _, deviation = self._depths(grid)
        return np.asarray(deviation * np.linalg.norm(turn[:2, 2]) / grid.spacing_mm, np.float64)

    def _depths(self, grid: WorkingGrid) -> tuple[Float, Float]:
        """Mean and standard deviation of the tissue's depth along each ray, in mm; the middle where there is none."""
        mass = self.slices.sum(axis=0, dtype=np.float64)
        total = np.maximum(mass.sum(axis=0), 1e-6)
        mean = np.tensordot(self.depth_mm, mass, axes=1) / total
        square = np.tensordot(self.depth_mm**2, mass, axes=1) / total
        places = mapped(grid.native_from_grid, pixel_grid((grid.height, grid.width)))
        return sample(mean, places, order=1), sample(np.sqrt(np.maximum(square - mean**2, 0)), places, order=1)


def drawn_turn(seed: int) -> Float:
    """A rotation of up to 3 degrees about each of the picture's axes, x and y; 3x3."""
    angles = np.random.default_rng((seed, 5)).uniform(-OUT_OF_PLANE_DEG, OUT_OF_PLANE_DEG, 2)
    return np.asarray(Rotation.from_euler("xy", angles, degrees=True).as_matrix(), np.float64)
