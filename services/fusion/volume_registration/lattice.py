"""A grid of control points seen on a cubic canvas: from voxels to control points and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from services.fusion.registration.spline import ORDER, canvas_basis, mean_products
from services.fusion.stepping import Work
from services.fusion.volume_registration.deformation import bent, separable
from services.fusion.volume_registration.normal_equations import FULL

_DAMPING = 1e-4
_ITERATIONS = 25
_ENOUGH = 0.05
"""Residual, of the force, at which a step is good enough: the next one starts from a new model anyway."""
_SAMPLES_PER_INTERVAL = 4


class Lattice:
    """Cubic B-splines sampled at the voxels of a canvas, float32.

    The system of a step is too large to be factorised. It is never formed: conjugate gradients need its products with
    control points only, and these are separable but for one multiplication per voxel. That multiplication is done on a
    coarser grid of four samples per interval: what is summed over less than that acts on splines alike.

    Args:
        size: side of the canvas in voxels.
        intervals: of the splines along each axis.
    """

    def __init__(self, size: int, intervals: int) -> None:
        self._block = max(1, size // (_SAMPLES_PER_INTERVAL * intervals))
        self.coarse = size // self._block
        self._values = canvas_basis(self.coarse, intervals).float()
        self._slopes = canvas_basis(self.coarse, intervals, 1).float()
        values, slopes, curvatures = (part.float().diagonal() for part in mean_products(intervals))
        self._stiffness = torch.zeros(*(intervals + ORDER,) * 3)
        for axis in range(3):
            pure, mixed = [values] * 3, [slopes] * 3
            pure[axis], mixed[axis] = curvatures, values
            for weight, (z, y, x) in ((1.0, pure), (2.0, mixed)):
                self._stiffness += weight * z[:, None, None] * y[:, None] * x

    def gathered(self, voxels: Tensor) -> Tensor:
        """(..., m, m, m): for each control point the sum over the coarse grid, (..., k, k, k), times its spline."""
        return separable(voxels, (self._values.T,) * 3)

    def pooled(self, voxels: Tensor) -> Tensor:
        """Sums over the blocks of the coarse grid, (channels, k, k, k) of (channels, n, n, n)."""
        if self._block == 1:
            return voxels
        return F.avg_pool3d(voxels, self._block) * float(self._block**3)

    def gradient(self, control: Tensor) -> Tensor:
        """(3, 3, k, k, k): derivatives of components (x, y, z) along (x, y, z), on the coarse grid."""
        along = [[self._values] * 3 for _ in range(3)]
        for component, axis in enumerate((2, 1, 0)):
            along[component][axis] = self._slopes
        return torch.stack([separable(control, matrices) for matrices in along], dim=1)

    def solved(self, matrices: Tensor, bending: float, force: Tensor) -> Work[Tensor]:
        """The step s of all control points with H s = force, by conjugate gradients.

        Args:
            matrices: (6, k, k, k), what the voxels of the coarse grid hold against each displacement.
            bending: weight of the bending energy, which H holds, too.
            force: (3, m, m, m).

        Returns:
            (3, m, m, m).
        """
        squares = (self._values.square().T,) * 3
        diagonal = separable(matrices[[0, 3, 5]], squares) + bending * self._stiffness
        damping = _DAMPING * float(diagonal.mean()) + 1e-12
        diagonal += damping
        full = matrices[list(FULL)].reshape(3, 3, *matrices.shape[1:])

        def product(control: Tensor) -> Tensor:
            moved = separable(control, (self._values,) * 3)
            pulled = torch.stack([(row * moved).sum(dim=0) for row in full])
            return self.gathered(pulled) + bending * bent(control) + damping * control

        step, residual = torch.zeros_like(force), force.clone()
        direction = residual / diagonal
        agreed, enough = float((residual * direction).sum()), _ENOUGH * float(force.norm())
        for _ in range(_ITERATIONS):
            yield
            if float(residual.norm()) <= enough:
                break
            image = product(direction)
            length = agreed / max(float((direction * image).sum()), 1e-30)
            step += length * direction
            residual -= length * image
            preconditioned = residual / diagonal
            before, agreed = agreed, float((residual * preconditioned).sum())
            direction = preconditioned + (agreed / max(before, 1e-30)) * direction
        return step
