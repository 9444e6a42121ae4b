"""Tests of free-form deformations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.fusion.registration.alignment import Alignment
from services.fusion.registration.deformation import Deformation, corner_determinants, smallest_determinant
from services.fusion.registration.spline import pixel_centres


def random_deformation(intervals: int, size: float, seed: int = 0) -> Deformation:
    generator = torch.Generator().manual_seed(seed)
    shape = Deformation.none(intervals).control.shape
    return Deformation((torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5) * 2 * size)


def test_grid_and_points_agree() -> None:
    """Displacements at grid crossings are those of the same points one by one."""
    deformation = random_deformation(4, 0.1)
    x, y = torch.tensor([-0.9, 0.1, 0.7]).double(), torch.tensor([-0.3, 0.8]).double()
    points = torch.stack([x.repeat(2), y.repeat_interleave(3)], dim=1)
    assert torch.allclose(deformation.on_grid(x, y).flatten(1).T, deformation.at(points))


def test_refining_changes_nothing_but_the_number_of_control_points() -> None:
    """Displacements and bending energy stay; another number than a doubling is refused."""
    deformation = random_deformation(3, 0.1)
    refined = deformation.refined(12)
    x = pixel_centres(20)
    assert refined.intervals == 12
    assert torch.allclose(deformation.on_grid(x, x), refined.on_grid(x, x))
    assert refined.bending_energy == pytest.approx(deformation.bending_energy)
    with pytest.raises(ValueError, match="doubled"):
        deformation.refined(5)


def test_an_alignment_displaces_before_its_matrix() -> None:
    """A point x goes to matrix (x + u(x)), on the grid and point by point."""
    deformation = random_deformation(4, 0.05)
    matrix = torch.tensor([[1.1, 0.2, 0.1], [-0.1, 0.9, -0.2], [0.0, 0.0, 1.0]]).double()
    alignment = Alignment(matrix, deformation)
    x = pixel_centres(6)
    grid = alignment.sampling_grid(6)
    points = torch.stack([x.repeat(6), x.repeat_interleave(6)], dim=1)
    expected = (points + deformation.at(points)) @ matrix[:2, :2].T + matrix[:2, 2]
    assert torch.allclose(alignment.apply(points), expected)
    assert torch.allclose(grid.reshape(-1, 2).double(), expected, atol=1e-6)


@given(st.integers(0, 10_000), st.floats(0.0, 2.0))
@settings(deadline=None)
def test_corner_determinants_bound_those_inside_the_cells(seed: int, size: float) -> None:
    """Nowhere within a cell is the determinant of the bilinear map less than the least at its corners, nor more."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(3.0), torch.arange(3.0), indexing="ij")
    places = (torch.stack([columns, rows]) + (torch.rand(2, 3, 3, generator=generator) - 0.5) * size).double()
    corners = corner_determinants(places)
    inside = torch.linspace(0, 1, 7, dtype=torch.float64)
    for row in range(2):
        for column in range(2):
            cell = places[:, row : row + 2, column : column + 2]
            along_x = cell[:, :, 1] - cell[:, :, 0]
            along_y = cell[:, 1] - cell[:, 0]
            for share in inside:
                by_x = (1 - share) * along_x[:, 0] + share * along_x[:, 1]
                for other in inside:
                    by_y = (1 - other) * along_y[:, 0] + other * along_y[:, 1]
                    determinant = by_x[0] * by_y[1] - by_x[1] * by_y[0]
                    here = corners[:, row, column]
                    assert here.min() - 1e-9 <= determinant <= here.max() + 1e-9


def test_identity_and_folds_are_told_apart() -> None:
    """The identity has determinant 1 everywhere; a mirrored cell has a negative one."""
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    identity = torch.stack([columns, rows])
    assert smallest_determinant(identity) == 1.0
    folded = identity.clone()
    folded[0, 1, 1], folded[0, 1, 2] = 2.0, 1.0
    assert smallest_determinant(folded) < 0


@given(st.integers(0, 1000), st.floats(0.0, 0.2))
@settings(max_examples=30, deadline=None)
def test_no_determinant_is_less_than_the_bound(seed: int, size: float) -> None:
    """The bound that saves looking at every pixel holds at every pixel; it is 1 where nothing moves."""
    deformation = random_deformation(8, size, seed)
    places = Alignment(Alignment.identity().matrix, deformation).displaced(64) * 32.0
    assert smallest_determinant(places) >= deformation.determinant_bound - 1e-9
    assert Deformation.none(8).determinant_bound == 1.0
