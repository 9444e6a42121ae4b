"""A planar alignment in the working space that both images of a registration share.

Working space: x and y in [-1, 1] across a square canvas, whatever its resolution, origin in the centre, pixel
edges at -1 and 1. A matrix in it therefore holds at every level of the registration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Alignment:
    """Where each point of the fixed canvas lies on the moving one.

    Attributes:
        matrix: float64 (3, 3), fixed_to_moving in working space; the last row is (0, 0, 1).
    """

    matrix: Tensor

    @classmethod
    def identity(cls) -> Alignment:
        """Canvas centres on each other, equal scale."""
        return cls(torch.eye(3, dtype=torch.float64))


@dataclass(frozen=True)
class Candidate:
    """An alignment and how similar the images were found under it; higher is better."""

    alignment: Alignment
    similarity: float


def warp(moving: Tensor, matrix: Tensor, padding: str = "border") -> Tensor:
    """Sample the moving canvas where a fixed_to_moving matrix in working space says, linearly.

    Args:
        moving: (channels, n, n).
        matrix: (3, 3) or (2, 3); gradients flow to it.
        padding: outside the canvas, "border" repeats its edge, "zeros" is zero.

    Returns:
        (channels, n, n) on the fixed canvas.
    """
    grid = F.affine_grid(matrix[None, :2].to(moving.dtype), [1, *moving.shape], align_corners=False)
    return F.grid_sample(moving[None], grid, padding_mode=padding, align_corners=False)[0]
