"""Tests of the map that is delivered."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest
import torch

from hilum.displacement_field import grid_points
from hilum.warp import Warp
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.deformation import Deformation
from services.fusion.registration.delivery import DeliveredField, PixelGrid, deliver
from services.fusion.registration.workspace import Workspace
from tests.unit.fusion.phantoms import body_phantom
from tests.unit.fusion.registration.test_deformation import random_deformation

FIXED = RegistrationImage(body_phantom(80)[:60], (2.0, 1.0))
MOVING = RegistrationImage(body_phantom(120), (1.1, 1.3))
MATRIX = torch.tensor([[0.95, 0.1, 0.05], [-0.1, 1.05, -0.03], [0.0, 0.0, 1.0]], dtype=torch.float64)


def delivered(workspace: Workspace, alignment: Alignment) -> DeliveredField | None:
    return finished(deliver(workspace, alignment, FIXED.size, MOVING.size))


def finished(steps: Generator[None, None, DeliveredField | None]) -> DeliveredField | None:
    while True:
        try:
            next(steps)
        except StopIteration as done:
            field: DeliveredField | None = done.value
            return field


def smooth() -> tuple[Workspace, Alignment, DeliveredField]:
    workspace = Workspace(FIXED, MOVING, 64, 64)
    alignment = Alignment(MATRIX, random_deformation(4, 0.08))
    field = delivered(workspace, alignment)
    assert field is not None
    return workspace, alignment, field


def test_pixels_go_where_the_alignment_says() -> None:
    """A fixed pixel p goes to matrix (p + u(p)), whatever the images' sizes and spacings."""
    workspace, alignment, field = smooth()
    warp = Warp(workspace.fixed_to_moving_px(alignment), field.displacements)
    pixels = grid_points(FIXED.size)
    working = pixels @ workspace.working_from_fixed[:2, :2].T + workspace.working_from_fixed[:2, 2]
    there = alignment.apply(torch.from_numpy(working)).numpy()
    back = np.linalg.inv(workspace.working_from_moving)
    expected = there @ back[:2, :2].T + back[:2, 2]
    assert np.allclose(warp.apply(pixels), expected, atol=1e-4)


def test_the_inverse_takes_pixels_back_within_the_stated_residual() -> None:
    """Moving pixels that come from within the fixed image return to themselves, up to what is said."""
    workspace, alignment, field = smooth()
    matrix = workspace.fixed_to_moving_px(alignment)
    forth, back = Warp(matrix, field.displacements), Warp(np.asarray(np.linalg.inv(matrix), np.float64), field.inverse)
    pixels = grid_points(MOVING.size)
    origins = back.apply(pixels)
    within = ((origins >= 0) & (origins <= np.array(FIXED.size[::-1]) - 1)).all(axis=1)
    missed = np.linalg.norm(forth.apply(origins) - pixels, axis=1)[within]
    assert within.sum() > 1000
    assert field.inverse_residual_px < 0.01
    assert missed.max() == pytest.approx(field.inverse_residual_px, abs=1e-3)


def test_figures_of_a_smooth_field() -> None:
    """It folds nowhere, its Jacobian lies about 1, and its bending energy is the deformation's."""
    _, alignment, field = smooth()
    assert field.folding_fraction == 0.0
    least, largest = field.jacobian_range
    assert 0.0 < least < 1.0 < largest
    assert alignment.deformation is not None
    assert field.bending_energy == pytest.approx(alignment.deformation.bending_energy)


def test_grids_of_large_images_are_coarser_and_cover_them() -> None:
    """Up to 1024 points a side are all pixels; beyond, cells of equal steps tile the image from edge to edge."""
    assert PixelGrid.over((700, 1024)) == PixelGrid((700, 1024), 1)
    grid = PixelGrid.over((1500, 3000))
    assert grid.step == 3
    assert grid.columns[0] == 1.0
    assert grid.columns[-1] == 2998.0
    assert grid.points.shape == (2, 500, 1000)


def test_a_large_image_is_mapped_between_the_points_of_its_grid() -> None:
    """On a coarser grid pixels go where the alignment says, to a small fraction of a pixel."""
    picture = np.zeros((8, 2500), np.float32)
    picture[2:6, 100:2000] = 1.0
    image = RegistrationImage(picture, (1.0, 300.0 / 8))
    alignment = Alignment(MATRIX, random_deformation(4, 0.05))
    workspace = Workspace(image, image, 64, 64)
    steps = deliver(workspace, alignment, image.size, image.size)
    field = finished(steps)
    assert field is not None
    assert field.displacements.shape == (3, 834)
    columns = torch.arange(2500, dtype=torch.float64)
    row = torch.tensor([4.0], dtype=torch.float64)
    expected = workspace.displacements_px(alignment, columns, row)[:, 0].T
    found = field.displacements.at(np.stack([columns.numpy(), np.full(2500, 4.0)], axis=1))
    assert np.abs(found - expected)[2:-2].max() < 0.02


def test_folds_are_counted() -> None:
    """A field that runs into itself says so."""
    control = Deformation.none(8).control.clone()
    control[0, 5, 5], control[0, 5, 6] = 0.6, -0.6
    field = delivered(Workspace(FIXED, MOVING, 64, 64), Alignment(MATRIX, Deformation(control)))
    assert field is not None
    assert 0.0 < field.folding_fraction < 0.2
    assert field.jacobian_range[0] < 0.0


def test_an_affine_alignment_has_no_field() -> None:
    """Without a deformation there is nothing to deliver but the matrix."""
    assert delivered(Workspace(FIXED, MOVING, 64, 64), Alignment(MATRIX)) is None
