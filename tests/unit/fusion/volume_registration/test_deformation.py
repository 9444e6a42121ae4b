"""Tests of free-form deformations in three dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.fusion.registration.spline import ORDER, pixel_centres
from services.fusion.volume_registration.alignment import voxel_grid
from services.fusion.volume_registration.deformation import Deformation, bent, determinants, separable
from services.fusion.volume_registration.lattice import Lattice


def drawn(intervals: int, seed: int = 0) -> Deformation:
    generator = torch.Generator().manual_seed(seed)
    return Deformation(0.1 * torch.randn(3, *(intervals + ORDER,) * 3, generator=generator))


@given(st.integers(1, 4), st.integers(0, 100))
@settings(deadline=None, max_examples=20)
def test_refining_changes_nothing(intervals: int, seed: int) -> None:
    """Twice as many intervals make the very same displacements, on a canvas, on a grid and at points."""
    coarse = drawn(intervals, seed)
    fine = coarse.refined(4 * intervals)
    assert fine.intervals == 4 * intervals
    assert torch.allclose(coarse.on_canvas(8), fine.on_canvas(8), atol=1e-5)
    along = pixel_centres(8)
    assert torch.allclose(coarse.on_grid(along, along, along), coarse.on_canvas(8), atol=1e-6)
    points = voxel_grid(8).flatten(1).T.double()
    assert torch.allclose(coarse.at(points).T.float(), coarse.on_canvas(8).flatten(1), atol=1e-5)
    assert coarse.bending_energy == pytest.approx(fine.bending_energy, rel=1e-3)


def test_refining_to_another_multiple() -> None:
    """Three times as many intervals hold other functions, and are refused."""
    with pytest.raises(ValueError, match="doubled"):
        drawn(2).refined(6)


def test_bending_energy_of_a_known_function() -> None:
    """Splines hold u = z² exactly: its second derivative is 2 and so its energy 4; that of u = z y is 2."""
    count = 5
    place = -1.0 + (torch.arange(count + ORDER) - 1.0) * 2.0 / count
    # Control points of x²: the square of the place, less what the spline's width adds.
    square = place.square() - (2.0 / count) ** 2 / 3
    control = torch.zeros(3, *(count + ORDER,) * 3)
    control[0] = square
    assert Deformation(control).bending_energy == pytest.approx(4.0, rel=1e-4)
    mixed = torch.zeros_like(control)
    mixed[1] = place[:, None, None] * place[:, None]
    assert Deformation(mixed).bending_energy == pytest.approx(2.0, rel=1e-4)
    assert torch.allclose((control * bent(control)).sum(), torch.tensor(4.0), atol=1e-3)


def test_separable_is_what_einsum_does() -> None:
    """Three small products along the axes are the product with all three matrices."""
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(2, 3, 4, 5, generator=generator)
    matrices = [torch.randn(n, m, generator=generator) for n, m in ((6, 3), (7, 4), (2, 5))]
    wanted = torch.einsum("cijk,ai,bj,dk->cabd", values, *matrices)
    assert torch.allclose(separable(values, matrices), wanted, atol=1e-5)


def test_gradient_and_determinants() -> None:
    """The lattice's gradients are the limits of differences, and determinants are numpy's."""
    deformation, step = drawn(4), 1e-4
    lattice = Lattice(16, 4)
    gradient = lattice.gradient(deformation.control)
    points = voxel_grid(16).flatten(1).T.double()
    for axis in range(3):
        ahead, behind = points.clone(), points.clone()
        ahead[:, axis] += step
        behind[:, axis] -= step
        slope = (deformation.at(ahead) - deformation.at(behind)) / (2 * step)
        assert torch.allclose(gradient[:, axis].flatten(1).T.double(), slope, atol=1e-3)
    moved = gradient.flatten(2).permute(2, 0, 1)
    np.testing.assert_allclose(determinants(gradient).flatten(), np.linalg.det(moved), atol=1e-5)
