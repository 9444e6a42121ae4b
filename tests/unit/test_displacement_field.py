"""Displacements on a grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from hilum.displacement_field import DisplacementField, grid_points
from hilum.errors import InvalidField
from hilum.warp import affine
from tests.unit.drawn_transforms import UNHURRIED, linear_map, smooth_field

seeds = st.integers(0, 2**32 - 1)
shapes = st.one_of(st.tuples(*[st.integers(1, 7)] * 2), st.tuples(*[st.integers(1, 5)] * 3))


def drawn(seed: int, shape: tuple[int, ...]) -> tuple[np.random.Generator, DisplacementField]:
    """A field of noise on a grid of any place and slant."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(len(shape), *shape)).astype(np.float32)
    return generator, DisplacementField(values, linear_map(generator, len(shape)))


@UNHURRIED
@given(seeds, shapes)
def test_interpolates_linearly_within_the_grid(seed: int, shape: tuple[int, ...]) -> None:
    """Between grid points values are those of SciPy's linear interpolation, component by component."""
    generator, field = drawn(seed, shape)
    index = generator.uniform(0, np.array(shape) - 1, (20, len(shape)))
    found = field.at(affine(field.grid, index[:, ::-1]))
    for component, values in enumerate(field.values):
        expected = ndimage.map_coordinates(values.astype(np.float64), index.T, order=1, mode="nearest")
        np.testing.assert_allclose(found[:, component], expected, atol=1e-6)


@UNHURRIED
@given(seeds, shapes)
def test_grid_points_have_their_values(seed: int, shape: tuple[int, ...]) -> None:
    """At the points of the grid the displacement is the stored one."""
    _, field = drawn(seed, shape)
    points = affine(field.grid, grid_points(shape))
    np.testing.assert_allclose(field.at(points), field.values.reshape(len(shape), -1).T, atol=1e-5)
    assert field.covers(points).all()


def test_continues_by_half_a_step_and_ends() -> None:
    """Half a step beyond the outermost points the field has their values; further out there is no displacement."""
    field = DisplacementField(np.full((2, 3, 4), 2.0), np.diag([10.0, 5.0, 1.0]))
    points = np.array([[-4.9, 0.0], [-5.1, 0.0], [34.9, 12.4], [35.1, 12.4], [0.0, 12.6]])
    assert field.covers(points).tolist() == [True, False, True, False, False]
    assert field.at(points)[:, 0].tolist() == [2, 0, 2, 0, 0]


@UNHURRIED
@given(seeds, shapes)
def test_mapped_fields_say_the_same(seed: int, shape: tuple[int, ...]) -> None:
    """In other coordinates a point is displaced to where the displaced point lies in these."""
    generator, field = drawn(seed, shape)
    other = linear_map(generator, len(shape))
    points = affine(field.grid, generator.uniform(0, np.array(shape[::-1]) - 1, (10, len(shape))))
    moved = affine(other, points) + field.mapped(other).at(affine(other, points))
    np.testing.assert_allclose(moved, affine(other, points + field.at(points)), atol=1e-5)


@UNHURRIED
@given(seeds, st.one_of(st.tuples(*[st.integers(2, 12)] * 2), st.tuples(*[st.integers(2, 6)] * 3)))
def test_origins_are_those_of_the_targets(seed: int, size: tuple[int, ...]) -> None:
    """Points of the grid, displaced, lead back to where they were."""
    generator = np.random.default_rng(seed)
    field = smooth_field(generator, size)
    points = affine(field.grid, generator.uniform(0, np.array(field.shape[::-1]) - 1, (30, len(size))))
    np.testing.assert_allclose(field.origins(points + field.at(points)), points, atol=1e-6)


def test_origins_of_what_the_grid_does_not_reach_lie_outside() -> None:
    """A field that moves everything to the right leaves a gap on the left, whose origins are outside the grid."""
    field = DisplacementField(np.stack([np.full((8, 8), 3.0), np.zeros((8, 8))]))
    found = field.origins(np.array([[1.0, 4.0]]))
    np.testing.assert_allclose(found, [[-2.0, 4.0]])
    assert not field.covers(found).any()


def test_folds_are_refused() -> None:
    """Where the grid is folded over and over some origins are not found, and the error says why."""
    generator = np.random.default_rng(1)
    field = DisplacementField(generator.normal(size=(2, 6, 6)) * 10)
    with pytest.raises(InvalidField, match="folds"):
        field.require_origins(generator.uniform(0, 5, (60, 2)))


@pytest.mark.parametrize(
    ("values", "grid"),
    [
        (np.zeros((3, 4, 4)), None),
        (np.zeros((2, 4, 4, 4)), None),
        (np.zeros((2, 0, 4)), None),
        (np.zeros((4, 4)), None),
        (np.full((2, 4, 4), np.nan), None),
        (np.full((2, 4, 4), np.inf), None),
        (np.full((2, 4, 4), 2e9), None),
        (np.zeros((2, 4, 4)), np.eye(4)),
        (np.zeros((2, 4, 4)), np.diag([1.0, 0.0, 1.0])),
        (np.zeros((2, 4, 4)), np.diag([1.0, np.nan, 1.0])),
        (np.zeros((2, 4, 4)), np.diag([1.0, 1.0, 2.0])),
    ],
)
def test_what_is_no_field_is_refused(values: NDArray[np.float64], grid: NDArray[np.float64] | None) -> None:
    """Shapes that do not fit, numbers that are not finite and grids without extent are refused when made."""
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        DisplacementField(values, grid)


def test_fields_are_values() -> None:
    """Equal content is equal, whatever the sign of zero; a field keeps its numbers, and cannot be written to."""
    values = np.zeros((2, 3, 4), np.float32)
    field = DisplacementField(values)
    assert field == DisplacementField(-values)
    assert hash(field) == hash(DisplacementField(-values))
    assert field.values.tobytes() == DisplacementField(-values).values.tobytes()
    values[0, 0, 0] = 1
    assert field != DisplacementField(values)
    assert field != DisplacementField(np.zeros((2, 3, 4)), np.diag([2.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="read-only"):
        field.values[0, 0, 0] = 1


def test_boxes_have_perpendicular_axes() -> None:
    """A grid that is turned is a box, but not where a unit along x is longer than one along y."""
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    field = DisplacementField(np.zeros((2, 3, 4)), turn)
    assert field.is_box()
    assert field.is_box((2.0, 2.0))
    assert not field.is_box((1.0, 2.0))
