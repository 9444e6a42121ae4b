from __future__ import annotations

import numpy as np
import pytest

from examples.demo.ct_volume import CtVolume, Label
from examples.demo.working_grid import WorkingGrid
from hilum.geometry import pixel_to_patient


@pytest.mark.parametrize("width", [256, 512])
def test_pixels_are_square_and_areas_true(volume: CtVolume, width: int) -> None:
    """The liver's area in mm2 on the grid is its area in the anisotropic slice, within one percent."""
    grid = WorkingGrid.over(volume, width)
    liver = volume.labels[218] == Label.LIVER
    _, row_mm, column_mm = volume.spacing_mm
    assert grid.width == width
    assert grid.resample(liver).sum() * grid.spacing_mm**2 == pytest.approx(liver.sum() * row_mm * column_mm, rel=0.01)


def test_grid_pixels_have_patient_coordinates(volume: CtVolume, grid: WorkingGrid) -> None:
    """The centroid of the liver in grid pixels and in voxels is the same place in the patient."""
    depth = 218
    liver = volume.labels[depth] == Label.LIVER
    row, column = np.argwhere(liver).mean(axis=0)
    on_grid = grid.resample(liver)
    y, x = np.mgrid[: grid.height, : grid.width]
    weight = on_grid / on_grid.sum()
    on_slice = pixel_to_patient(grid.frame(volume, depth), [((x * weight).sum(), (y * weight).sum())])
    np.testing.assert_allclose(on_slice, pixel_to_patient(volume.frame, [(column, row, depth)]), atol=0.2)


def test_beyond_the_volume_is_the_stated_value(volume: CtVolume, grid: WorkingGrid) -> None:
    """Pixels that a motion brings in from beyond the volume are not exposed and take the outside value."""
    shift = np.array([[1.0, 0, -50], [0, 1, 0], [0, 0, 1]])
    moved = grid.resample(volume.hounsfield[218], shift, outside=-1024)
    exposed = grid.exposed(volume, shift)
    assert not exposed[:, :49].any()
    assert exposed[:, 51:].all()
    assert (moved[:, :49] == -1024).all()
