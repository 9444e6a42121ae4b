"""Tests of solving for control points."""

from __future__ import annotations

import torch

from services.fusion.registration.spline import canvas_basis
from services.fusion.stepping import finished
from services.fusion.volume_registration.deformation import bent, separable
from services.fusion.volume_registration.lattice import Lattice
from services.fusion.volume_registration.normal_equations import FULL


def test_solves_the_system() -> None:
    """The step, put back into the system that the whole canvas makes, gives the force to within a twentieth."""
    size, intervals, bending = 16, 4, 1e-2
    generator = torch.Generator().manual_seed(0)
    slopes = 1.0 + 0.3 * torch.randn(3, size, size, size, generator=generator)
    matrices = torch.stack([slopes[i] * slopes[j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))])
    matrices[[0, 3, 5]] += 1.0
    lattice = Lattice(size, intervals)
    force = lattice.gathered(slopes)
    step = finished(lattice.solved(matrices, bending, force))
    basis = canvas_basis(size, intervals).float()
    moved = separable(step, (basis,) * 3)
    full = matrices[list(FULL)].reshape(3, 3, size, size, size)
    pulled = torch.einsum("ij...,j...->i...", full, moved)
    found = separable(pulled, (basis.T,) * 3) + bending * bent(step)
    assert float((found - force).norm()) < 0.06 * float(force.norm())


def test_a_coarser_grid_sums_the_same() -> None:
    """What all voxels of a fine canvas ask for together is kept on the coarse grid."""
    lattice = Lattice(64, 4)
    voxels = torch.rand(2, 64, 64, 64, generator=torch.Generator().manual_seed(1))
    pooled = lattice.pooled(voxels)
    assert pooled.shape == (2, 16, 16, 16)
    assert torch.allclose(pooled.sum(dim=(1, 2, 3)), voxels.sum(dim=(1, 2, 3)), rtol=1e-4)
    gathered = lattice.gathered(pooled)
    assert torch.allclose(gathered.sum(dim=(1, 2, 3)), voxels.sum(dim=(1, 2, 3)), rtol=1e-4)
