"""Transforms in millimetres."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.displacement_field import DisplacementField, grid_points
from hilum.errors import FrameNotSupported, InvalidField
from hilum.geometry import ImageGeometry, PatientFrame
from hilum.image_grid import ImageGrid
from hilum.transform import Transform
from hilum.transform_world import from_world, to_world, world_grid
from hilum.warp import Warp, affine
from tests.unit.drawn_transforms import (
    UNHURRIED,
    Kinds,
    around,
    inside,
    moved_mm,
    to_mm,
    transforms,
    world_dimension,
)


@UNHURRIED
@given(transforms())
def test_points_in_mm_go_where_their_pixels_go(transform: Transform) -> None:
    """In mm a transform takes points, within the image and beyond it, where it takes their pixels."""
    dimension = world_dimension(transform)
    world, pixels = to_world(transform), around(transform)
    assert world.dimension == dimension
    expected = to_mm(transform.moving_grid, transform.apply(pixels), dimension)
    np.testing.assert_allclose(world.apply(to_mm(transform.fixed_grid, pixels, dimension)), expected, atol=1e-4)
    assert world.field is None or world.field.is_box()


@UNHURRIED
@given(transforms(Kinds(volumes=False, planes=False)), st.floats(-0.9, 0.9))
def test_slices_keep_their_distance(transform: Transform, share: float) -> None:
    """Within a slice's thickness points move as in its plane and stay as far off; beyond it they are not displaced."""
    fixed = transform.fixed_grid
    points = to_mm(fixed, inside(transform), 3)
    normal = fixed.patient_mm[:3, 2]
    within = points + share * fixed.reach_mm * normal
    np.testing.assert_allclose(to_world(transform).apply(within), moved_mm(transform, within), atol=1e-4)
    beyond = points + 1.1 * fixed.reach_mm * normal
    world = to_world(transform)
    np.testing.assert_allclose(world.apply(beyond), affine(world.matrix, beyond), atol=1e-9)


@UNHURRIED
@given(transforms())
def test_transforms_come_back(transform: Transform) -> None:
    """From mm to pixels again a transform is what it was; between slices, at every pixel."""
    found = from_world(to_world(transform), transform.fixed_grid, transform.moving_grid)
    pixels = grid_points(transform.fixed_grid.size)
    np.testing.assert_allclose(found.apply(pixels), transform.apply(pixels), atol=1e-4)
    if transform.fixed_slices and transform.displacement_field is not None:
        assert found.displacement_field is not None
        np.testing.assert_allclose(found.displacement_field.grid, transform.displacement_field.grid, atol=1e-6)


@UNHURRIED
@given(transforms(Kinds(slices=False)), st.integers(0, 2**32 - 1))
def test_grids_askew_are_kept_at_the_pixels(transform: Transform, seed: int) -> None:
    """A displacement field whose grid is sheared becomes one on the pixels, with the same displacements there."""
    generator = np.random.default_rng(seed)
    size = transform.fixed_grid.size
    grid = np.eye(len(size) + 1)
    grid[0, 1] = 0.5
    askew = Transform.from_matrix(
        transform.pixel_matrix,
        size,
        transform.moving_grid.size,
        fixed_geometry=transform.fixed_geometry,
        moving_geometry=transform.moving_geometry,
        displacement_field=DisplacementField(generator.normal(size=(len(size), *size)), grid),
    )
    world, pixels = to_world(askew), grid_points(size)
    assert world.field is not None
    assert world.field.is_box()
    dimension = world_dimension(transform)
    moved = world.apply(to_mm(askew.fixed_grid, pixels, dimension))
    np.testing.assert_allclose(moved, to_mm(askew.moving_grid, askew.apply(pixels), dimension), atol=1e-4)


AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
SLICE = ImageGrid((4, 5), ImageGeometry(PatientFrame((0.0, 0.0, 0.0), AXES, (1.0, 1.0, 4.0), "1.2")))


def test_grids_in_mm_have_layers_within_a_slice() -> None:
    """A slice's grid in three dimensions is two layers that fill its thickness; a volume's is its voxels."""
    shape, matrix = world_grid(SLICE, 3)
    assert shape == (2, 4, 5)
    assert np.unique(affine(matrix, grid_points(shape))[:, 2]).tolist() == [-1, 1]
    assert world_grid(SLICE, 2)[0] == (4, 5)
    assert world_grid(ImageGrid((7, 4, 5), SLICE.geometry), 3)[0] == (7, 4, 5)


def test_what_no_images_can_hold_is_refused() -> None:
    """A map that flattens, one out of the plane, and a slice against a volume are refused."""
    flat = np.eye(4)
    flat[0, 0] = 1e-12
    with pytest.raises(InvalidField, match="invertible"):
        from_world(Warp(flat), SLICE, SLICE)
    lifted = np.eye(4)
    lifted[2, 3] = 2.1
    with pytest.raises(FrameNotSupported, match=r"2\.1 mm out of the moving slice's plane"):
        from_world(Warp(lifted), SLICE, SLICE)
    with pytest.raises(FrameNotSupported, match="one is a volume"):
        from_world(Warp(np.eye(4)), SLICE, ImageGrid((7, 4, 5), SLICE.geometry))
    with pytest.raises(FrameNotSupported, match="PATIENT_LPS"):
        from_world(Warp(np.eye(4)), SLICE, ImageGrid((4, 5)))
