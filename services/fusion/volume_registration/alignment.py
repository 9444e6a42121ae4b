"""An alignment of two volumes in the working space that they share.

Working space: x, y and z in [-1, 1] across a cubic canvas, whatever its resolution, along the axes of the fixed volume,
origin in each volume's centre, voxel edges at -1 and 1. An alignment in it therefore holds at every level of the
registration.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from services.fusion.registration.spline import pixel_centres
from services.fusion.volume_registration.deformation import Deformation


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where each point of the fixed canvas lies on the moving one: x goes to matrix (x + u(x)).

    Attributes:
        matrix: float64 (4, 4), fixed_to_moving in working space; the last row is (0, 0, 0, 1).
        deformation: u, or None where the alignment is affine.
    """

    matrix: Tensor
    deformation: Deformation | None = None

    @classmethod
    def identity(cls) -> Alignment:
        """The volumes' centres on each other."""
        return cls(torch.eye(4, dtype=torch.float64))

    def sampling_grid(self, size: int) -> Tensor:
        """float32 (size, size, size, 3): where on the moving canvas each voxel of a fixed canvas lies."""
        if self.deformation is None:
            shape = [1, 1, size, size, size]
            return F.affine_grid(self.matrix[None, :3].float(), shape, align_corners=False)[0]
        displaced = self.displaced(size).permute(1, 2, 3, 0)
        linear, shift = self.matrix[:3, :3].float(), self.matrix[:3, 3].float()
        return displaced @ linear.T + shift

    def displaced(self, size: int) -> Tensor:
        """float32 (3, size, size, size): x + u(x) for each voxel of a fixed canvas."""
        place = voxel_grid(size)
        return place if self.deformation is None else place + self.deformation.on_canvas(size)

    def apply(self, points: Tensor) -> Tensor:
        """Moving points (n, 3) of fixed points (n, 3), both float64 in working space."""
        displaced = points if self.deformation is None else points + self.deformation.at(points)
        return displaced @ self.matrix[:3, :3].T + self.matrix[:3, 3]


@lru_cache(maxsize=4)
def voxel_grid(size: int) -> Tensor:
    """float32 (3, size, size, size): x, y and z of the centres of a canvas's voxels; not to be written to."""
    along = pixel_centres(size).float()
    z, y, x = torch.meshgrid(along, along, along, indexing="ij")
    return torch.stack([x, y, z])


def warp(channels: Tensor, grid: Tensor) -> Tensor:
    """Sample a canvas where a grid says, linearly; its edge is repeated outside.

    Args:
        channels: (channels, n, n, n).
        grid: (depth, height, width, 3), (x, y, z) in working space.

    Returns:
        (channels, depth, height, width).
    """
    return F.grid_sample(channels[None], grid[None], padding_mode="border", align_corners=False)[0]
