"""What a registration delivers: the map between the images' own pixels, its inverse, and whether it folds."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.displacement_field import DisplacementField
from services.fusion.registration.alignment import Alignment, warp
from services.fusion.registration.deformation import corner_determinants
from services.fusion.registration.workspace import Workspace

_INVERSE_STEPS = 30
_INVERSE_ENOUGH_PX = 1e-3


@dataclass(frozen=True, eq=False)
class DeliveredField:
    """The deformable part of a map between pixels: p goes to fixed_to_moving (p + u(p)).

    Attributes:
        displacements: u on the fixed image's pixels, in fixed pixels.
        inverse: v on the moving image's pixels, in moving pixels: q comes from inv(fixed_to_moving) (q + v(q)).
        inverse_residual_px: the largest distance, in moving pixels, between a moving pixel that comes from within the
            fixed image and where the map takes it back to.
        folding_fraction: share of the fixed pixels' cells that have a place where the map folds.
        jacobian_range: least and largest Jacobian determinant of p + u(p), over all cells' corners.
        bending_energy: mean of the squared second derivatives of u, where the longer side of the field is 2.
    """

    displacements: DisplacementField
    inverse: DisplacementField
    inverse_residual_px: float
    folding_fraction: float
    jacobian_range: tuple[float, float]
    bending_energy: float


def deliver(
    workspace: Workspace, alignment: Alignment, fixed_size: tuple[int, int], moving_size: tuple[int, int]
) -> Generator[None, None, DeliveredField | None]:
    """Put an alignment's deformation onto the images' pixels; None where there is none. Yields between steps.

    Args:
        workspace: of the two images.
        alignment: what was found.
        fixed_size: (height, width).
        moving_size: (height, width).
    """
    deformation = alignment.deformation
    if deformation is None:
        return None
    displacements = torch.from_numpy(workspace.displacements_px(alignment, fixed_size)).float()
    yield
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in fixed_size), indexing="ij")
    determinants = corner_determinants(torch.stack([columns, rows]) + displacements)
    yield
    matrix = workspace.fixed_to_moving_px(alignment)
    inverse, residual = yield from _inverted(displacements, matrix, moving_size)
    return DeliveredField(
        DisplacementField(displacements.numpy()),
        DisplacementField(inverse.numpy()),
        residual,
        float((determinants <= 0).any(dim=0).double().mean()),
        (float(determinants.min()), float(determinants.max())),
        deformation.bending_energy,
    )


def _inverted(
    displacements: Tensor, matrix: NDArray[np.float64], moving_size: tuple[int, int]
) -> Generator[None, None, tuple[Tensor, float]]:
    """The inverse's displacements (2, height, width) on the moving grid, and its residual in moving pixels.

    With q' = inv(matrix) q, the origin p of q solves p = q' - u(p): a fixed point, found by repetition. Where u falls
    steeply that swings; then half of each step is taken.
    """
    forth = torch.from_numpy(matrix[:2, :2]).float()
    back = torch.from_numpy(np.linalg.inv(matrix)).float()
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in moving_size), indexing="ij")
    moving = torch.stack([columns, rows])
    wanted = torch.einsum("ij,jyx->iyx", back[:2, :2], moving) + back[:2, 2, None, None]
    found = wanted - _sampled(displacements, wanted)
    for step in range(_INVERSE_STEPS):
        missing = wanted - found - _sampled(displacements, found)
        yield
        if float(missing.abs().max()) < _INVERSE_ENOUGH_PX:
            break
        found = found + missing * (1.0 if step < _INVERSE_STEPS // 2 else 0.5)
    height, width = displacements.shape[1:]
    within = (found[0] >= 0) & (found[0] <= width - 1) & (found[1] >= 0) & (found[1] <= height - 1)
    missing = torch.einsum("ij,jyx->iyx", forth, wanted - found - _sampled(displacements, found))
    residual = float((missing.norm(dim=0) * within).max())
    inverse = torch.einsum("ij,jyx->iyx", forth, found - wanted)
    return inverse, residual


def _sampled(displacements: Tensor, points: Tensor) -> Tensor:
    """Displacements (2, h, w) at points (2, height, width) in its pixels, linear, continued beyond its edge."""
    height, width = displacements.shape[1:]
    side = torch.tensor([width, height], dtype=points.dtype)[:, None, None]
    return warp(displacements, ((2.0 * points + 1.0) / side - 1.0).permute(1, 2, 0))
