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


def test_products_are_sums_over_pixels() -> None:
    """Sums for pairs of control points are those that the full tables of splines give."""
    pixels = noise(SIZE, SIZE)
    lattice = Lattice(SIZE, INTERVALS)
    weighted = splines() * pixels.flatten()
    assert torch.allclose(lattice.products(pixels), weighted @ splines().T, atol=1e-4)
    expected = sum((splines(*d) * pixels.flatten()) @ splines(*d).T for d in ((1, 0), (0, 1)))
    assert torch.allclose(lattice.slope_products(pixels), torch.as_tensor(expected), rtol=1e-4, atol=1e-2)


def test_gathered_forces_are_sums_over_pixels() -> None:
    """Each control point gathers what its spline, or its slopes, see."""
    fields = noise(2, SIZE, SIZE)
    lattice = Lattice(SIZE, INTERVALS)
    assert torch.allclose(lattice.gathered(fields).flatten(1), fields.flatten(1) @ splines().T, atol=1e-4)
    expected = splines(1, 0) @ fields[0].flatten() + splines(0, 1) @ fields[1].flatten()
    assert torch.allclose(lattice.gathered_slopes(fields[0], fields[1]).flatten(), expected, atol=1e-3)


def test_gradient_is_that_of_the_spline() -> None:
    """Component by component, along x and along y."""
    control = noise(2, COUNT, COUNT)
    gradient = Lattice(SIZE, INTERVALS).gradient(control)
    for component in (0, 1):
        for axis, d in enumerate(((1, 0), (0, 1))):
            expected = (control[component].flatten() @ splines(*d)).reshape(SIZE, SIZE)
            assert torch.allclose(gradient[component, axis], expected, atol=1e-4)
