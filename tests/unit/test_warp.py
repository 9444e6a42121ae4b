"""Maps of points: a displacement field, then a matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.displacement_field import DisplacementField, grid_points
from hilum.errors import InvalidField
from hilum.geometry import Float
from hilum.warp import Warp, affine, inverted
from tests.unit.drawn_transforms import UNHURRIED, linear_map, smooth_field

seeds = st.integers(0, 2**32 - 1)
sizes = st.one_of(st.tuples(*[st.integers(2, 8)] * 2), st.tuples(*[st.integers(2, 5)] * 3))


def drawn(seed: int, size: tuple[int, ...], *, deformable: bool = True) -> tuple[np.random.Generator, Warp]:
    """A map, and more of the numbers it was drawn from."""
    generator = np.random.default_rng(seed)
    matrix = linear_map(generator, len(size))
    return generator, Warp(matrix, smooth_field(generator, size) if deformable else None)


def within(generator: np.random.Generator, size: tuple[int, ...]) -> Float:
    """Points of an image."""
    return generator.uniform(0, np.array(size[::-1]) - 1, (15, len(size)))


@UNHURRIED
@given(seeds, sizes)
def test_the_field_comes_before_the_matrix(seed: int, size: tuple[int, ...]) -> None:
    """A point is displaced first, and the matrix takes the displaced point."""
    generator, warp = drawn(seed, size)
    points = within(generator, size)
    assert warp.field is not None
    np.testing.assert_allclose(warp.apply(points), affine(warp.matrix, points + warp.field.at(points)), atol=1e-9)


@UNHURRIED
@given(seeds, sizes, st.booleans())
def test_points_come_back(seed: int, size: tuple[int, ...], deformable: bool) -> None:
    """The inverse takes points of the grid back to where they were, to a millionth of a pixel."""
    generator, warp = drawn(seed, size, deformable=deformable)
    points = within(generator, size)
    np.testing.assert_allclose(warp.apply(warp.apply(points), inverse=True), points, atol=1e-6)


def test_points_beyond_the_field_come_back() -> None:
    """Far from the grid the matrix alone counts, in both directions."""
    warp = Warp(np.diag([2.0, 2.0, 1.0]), DisplacementField(np.full((2, 4, 4), 0.5)))
    far = [[100.0, -50.0]]
    np.testing.assert_allclose(warp.apply(far), [[200.0, -100.0]])
    np.testing.assert_allclose(warp.apply([[200.0, -100.0]], inverse=True), far)


@UNHURRIED
@given(seeds, sizes)
def test_other_coordinates(seed: int, size: tuple[int, ...]) -> None:
    """Between other coordinates a map takes the same points to the same places."""
    generator, warp = drawn(seed, size)
    fixed, moving = linear_map(generator, len(size)), linear_map(generator, len(size))
    points = within(generator, size)
    moved = warp.between(fixed, moving).apply(affine(fixed, points))
    np.testing.assert_allclose(moved, affine(moving, warp.apply(points)), atol=1e-5)


@UNHURRIED
@given(seeds, sizes, st.booleans(), st.booleans())
def test_then_is_one_after_the_other(seed: int, size: tuple[int, ...], first_bends: bool, second_bends: bool) -> None:
    """Exact everywhere within the grid where at most one of two maps has a field, else at the grid's points."""
    generator, first = drawn(seed, size, deformable=first_bends)
    _, second = drawn(seed + 1, size, deformable=second_bends)
    points = grid_points(size) if first_bends and second_bends else within(generator, size)
    joined = first.then(second, size)
    moved = first.apply(points)
    if second.field is not None:
        index = affine(inverted(second.field.grid), moved)
        edges = np.array([np.full(len(size), -0.5), np.array(second.field.shape[::-1]) - 0.5])
        # Where the second field ends, rounding decides.
        clear = np.abs(index[:, None] - edges).min(axis=(1, 2)) > 1e-6
        points, moved = points[clear], moved[clear]
    np.testing.assert_allclose(joined.apply(points), second.apply(moved), atol=1e-5)


@UNHURRIED
@given(seeds, sizes)
def test_through_goes_where_it_was_told(seed: int, size: tuple[int, ...]) -> None:
    """A map made of places that the grid's points go to takes them there, whatever its matrix."""
    generator, warp = drawn(seed, size)
    moved = affine(warp.matrix, grid_points(size)) + generator.normal(size=(int(np.prod(size)), len(size)))
    made = Warp.through(warp.matrix, moved, size)
    np.testing.assert_allclose(made.apply(grid_points(size)), moved, atol=1e-4)


@pytest.mark.parametrize("points", [[[1.0, 2.0, 3.0]], [1.0], [[[1.0, 2.0]]]])
def test_points_of_another_dimension_are_refused(points: object) -> None:
    """A map of the plane takes points of two coordinates."""
    with pytest.raises(InvalidField, match="2 coordinates"):
        Warp(np.eye(3)).apply(points)  # type: ignore[arg-type]  # as a caller without types does
