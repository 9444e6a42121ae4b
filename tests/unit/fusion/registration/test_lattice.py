"""Tests of the sums over pixels that a lattice takes."""

from __future__ import annotations

import torch

from services.fusion.registration.lattice import Lattice
from services.fusion.registration.spline import pixel_centres, spline_basis

SIZE, INTERVALS = 20, 4
COUNT = INTERVALS + 3


def splines(along_x: int = 0, along_y: int = 0) -> torch.Tensor:
    """(m², n²): every spline, or a derivative of it, at every pixel."""
    centres = pixel_centres(SIZE)
    x, y = spline_basis(centres, INTERVALS, along_x), spline_basis(centres, INTERVALS, along_y)
    return torch.einsum("yi,xj->ijyx", y, x).reshape(COUNT**2, SIZE**2).float()


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def dense(xx: torch.Tensor, xy: torch.Tensor, yy: torch.Tensor) -> torch.Tensor:
    """The matrix of all control points, all x components first."""
    return torch.cat([torch.cat([xx, xy], dim=1), torch.cat([xy, yy], dim=1)]).double()


def test_steps_solve_the_system_of_all_pixels_points_and_bending() -> None:
    """The banded solution is that of the full table of splines, bending energy and points."""
    pixels, force = noise(3, SIZE, SIZE), noise(2, COUNT, COUNT)
    pixels[1] = 0.3 * pixels[1] - 0.1
    points = torch.tensor([[0.3, -0.8], [-0.55, 0.1]], dtype=torch.float64)
    weights = torch.tensor([2.0, 5.0], dtype=torch.float64)
    lattice = Lattice(SIZE, INTERVALS)
    products = lattice.products(pixels)
    products[0] += lattice.point_products(points, weights) + lattice.slope_products(pixels[0])
    products[2] += lattice.point_products(points, weights)
    step = lattice.solved(products, 0.2, force)
    assert step is not None

    x, y = spline_basis(points[:, 0], INTERVALS), spline_basis(points[:, 1], INTERVALS)
    there = (y[:, :, None] * x[:, None, :]).flatten(1)
    xx, xy, yy = ((splines() * weight.flatten()) @ splines().T for weight in pixels)
    pull = (there.T @ (weights[:, None] * there)).float()
    slopes = sum((splines(*d) * pixels[0].flatten()) @ splines(*d).T for d in ((1, 0), (0, 1)))
    matrix = dense(xx + pull + slopes + 0.2 * lattice.bending, xy, yy + pull + 0.2 * lattice.bending)
    # The system is slightly damped.
    matrix += 1e-4 * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=torch.float64)
    missed = matrix @ step.flatten() - force.flatten().double()
    assert missed.abs().max() < 1e-3 * force.abs().max()


def test_no_step_where_there_is_no_top() -> None:
    """A system that is not positive has no solution."""
    lattice = Lattice(SIZE, INTERVALS)
    assert lattice.solved(lattice.products(-noise(3, SIZE, SIZE)), 0.0, noise(2, COUNT, COUNT)) is None


def test_gathered_forces_are_sums_over_pixels() -> None:
    """Each control point gathers what its spline, or its slopes, see."""
    fields = noise(2, SIZE, SIZE)
    lattice = Lattice(SIZE, INTERVALS)
    assert torch.allclose(lattice.gathered(fields).flatten(1), fields.flatten(1) @ splines().T, atol=1e-4)
    expected = splines(1, 0) @ fields[0].flatten() + splines(0, 1) @ fields[1].flatten()
    assert torch.allclose(lattice.gathered_slopes(fields[0], fields[1]).flatten(), expected, atol=1e-3)


def test_points_gather_like_pixels() -> None:
    """A force at a pixel's centre is that pixel's."""
    fields = torch.zeros(2, SIZE, SIZE)
    fields[:, 5, 12] = torch.tensor([2.0, -1.0])
    centres = pixel_centres(SIZE)
    points = torch.stack([centres[12], centres[5]])[None]
    lattice = Lattice(SIZE, INTERVALS)
    gathered = lattice.gathered_points(points, torch.tensor([[2.0, -1.0]], dtype=torch.float64))
    assert torch.allclose(gathered, lattice.gathered(fields), atol=1e-6)


def test_gradient_is_that_of_the_spline() -> None:
    """Component by component, along x and along y."""
    control = noise(2, COUNT, COUNT)
    gradient = Lattice(SIZE, INTERVALS).gradient(control)
    for component in (0, 1):
        for axis, d in enumerate(((1, 0), (0, 1))):
            expected = (control[component].flatten() @ splines(*d)).reshape(SIZE, SIZE)
            assert torch.allclose(gradient[component, axis], expected, atol=1e-4)
