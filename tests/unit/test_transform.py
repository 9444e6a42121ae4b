"""Tests of transforms between two images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hilum.errors import FrameNotSupported
from hilum.geometry import DetectorFrame, ImageGeometry, PatientFrame, PlaneFrame, pixel_to_patient
from hilum.transform import Transform

AXIAL = ImageGeometry(PatientFrame((-100.0, -80.0, 40.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (0.7, 0.8, 5.0), "1.2.3"))
CORONAL = ImageGeometry(PatientFrame((-90.0, 10.0, 200.0), ((1, 0, 0), (0, 0, 1), (0, -1, 0)), (1.5, 1.5, 0.0)))
PLANE = ImageGeometry(PlaneFrame((0.5, 0.25)))

numbers = st.floats(-500, 500)
points = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5)


@st.composite
def transforms(draw: st.DrawFn) -> Transform:
    """Invertible affine transforms of a plausible kind."""
    angle, shear = draw(st.floats(-3.2, 3.2)), draw(st.floats(-0.5, 0.5))
    scales = draw(st.tuples(st.floats(0.2, 5.0), st.floats(0.2, 5.0)))
    matrix = np.eye(3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix[:2, :2] = turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag(scales)
    matrix[:2, 2] = draw(st.tuples(numbers, numbers))
    return Transform.from_matrix(matrix, (200, 300), (256, 128), fixed_geometry=AXIAL, moving_geometry=PLANE)


def shift(x: float, y: float, **kwargs: object) -> Transform:
    plain = Transform.from_matrix(np.array([[1, 0, x], [0, 1, y], [0, 0, 1]]), (20, 30), (20, 30))
    return replace(plain, **kwargs)  # type: ignore[arg-type]  # fields are checked by their use


@given(transforms(), points)
def test_inverse_takes_points_back(transform: Transform, given_points: list[tuple[float, float]]) -> None:
    """Forward and back is where one began, by `inverse()` and by the argument alike."""
    moved = transform.apply(given_points)
    assert moved.shape == (len(given_points), 2)
    assert np.allclose(transform.apply(moved, inverse=True), given_points, atol=1e-6)
    assert np.allclose(transform.inverse().apply(moved), given_points, atol=1e-6)


@given(transforms())
def test_transform_then_its_inverse_is_the_identity(transform: Transform) -> None:
    """A transform followed by its inverse is the identity of the fixed image, sizes and geometries included."""
    there_and_back = transform.then(transform.inverse())
    assert np.allclose(there_and_back.matrix, np.eye(3), atol=1e-6)
    assert there_and_back.fixed_size == there_and_back.moving_size == transform.fixed_size
    assert there_and_back.moving_geometry == transform.fixed_geometry


@given(transforms(), transforms(), points)
def test_then_applies_one_after_the_other(
    first: Transform, second: Transform, given_points: list[tuple[float, float]]
) -> None:
    """Applying `first.then(second)` is applying first and then second."""
    following = replace(second, fixed_size=first.moving_size)
    expected = following.apply(first.apply(given_points))
    assert np.allclose(first.then(following).apply(given_points), expected, atol=1e-6)


def test_then_unites_flags_and_refuses_other_sizes() -> None:
    """No flag is lost on the way, and images that do not meet cannot be chained."""
    first, second = shift(1, 2, flags=("LOW_OVERLAP",)), shift(3, 4, flags=("LOW_OVERLAP", "VIEWS_DIFFER"))
    assert first.then(second).flags == ("LOW_OVERLAP", "VIEWS_DIFFER")
    with pytest.raises(ValueError, match="not the next"):
        first.then(shift(1, 1, fixed_size=(21, 30)))


@given(transforms(), points)
def test_millimetres_follow_pixels(transform: Transform, given_points: list[tuple[float, float]]) -> None:
    """In-plane mm are pixels times spacing on either side."""
    pixels = np.array(given_points)
    moved_mm = transform.apply_plane_mm(pixels * (0.7, 0.8))
    assert np.allclose(moved_mm, transform.apply(pixels) * (0.5, 0.25), atol=1e-6)


@pytest.mark.parametrize("unknown", [ImageGeometry(), ImageGeometry(DetectorFrame((0.2, 0.2)))])
def test_millimetres_need_spacing_in_both_images(unknown: ImageGeometry) -> None:
    """Without spacing, or at a detector of unknown magnification, lengths in mm are refused."""
    for fixed, moving in ((unknown, PLANE), (PLANE, unknown)):
        with pytest.raises(FrameNotSupported):
            shift(1, 1, fixed_geometry=fixed, moving_geometry=moving).apply_plane_mm([[0.0, 0.0]])


def test_patient_points_go_through_both_planes() -> None:
    """A patient point in the fixed plane lands on the moving plane at the transformed pixel, and comes back."""
    transform = shift(4, -3, fixed_geometry=AXIAL, moving_geometry=CORONAL)
    fixed, moving = AXIAL.frame, CORONAL.frame
    assert isinstance(fixed, PatientFrame)
    assert isinstance(moving, PatientFrame)
    start = pixel_to_patient(fixed, [[10.0, 12.0], [0.0, 0.0]])
    landed = transform.apply_patient(start)
    assert np.allclose(landed, pixel_to_patient(moving, [[14.0, 9.0], [4.0, -3.0]]))
    assert np.allclose(transform.apply_patient(landed, inverse=True), start)


def test_patient_points_off_the_plane_are_refused() -> None:
    """Half a slice off the plane is the most that counts as in it; a planar transform does not move in depth."""
    transform = shift(0, 0, fixed_geometry=AXIAL, moving_geometry=CORONAL)
    frame = AXIAL.frame
    assert isinstance(frame, PatientFrame)
    inside = pixel_to_patient(frame, [[5.0, 5.0]]) + np.array([0.0, 0.0, 2.4])
    transform.apply_patient(inside)
    with pytest.raises(FrameNotSupported, match="off the image plane"):
        transform.apply_patient(inside + np.array([0.0, 0.0, 0.2]))
    with pytest.raises(FrameNotSupported, match="PATIENT_LPS"):
        shift(0, 0, fixed_geometry=AXIAL, moving_geometry=PLANE).apply_patient(inside)


def test_id_names_the_content() -> None:
    """Equal content has one id; every part of the content changes it."""
    base = shift(1, 2)
    assert base.transform_id == shift(1, 2).transform_id
    assert len(base.transform_id) == 32
    others = [
        shift(1, 2.0000001),
        replace(base, fixed_size=(21, 30)),
        replace(base, moving_size=(20, 31)),
        replace(base, fixed_geometry=PLANE),
        replace(base, moving_geometry=PLANE),
        replace(base, flags=("LOW_OVERLAP",)),
        replace(base, algorithm="other"),
    ]
    assert len({t.transform_id for t in (base, *others)}) == len(others) + 1


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(2),
        np.diag([1.0, np.nan, 1.0]),
        np.diag([1.0, 0.0, 1.0]),
        np.array([[1.0, 0, 0], [0, 1, 0], [0.1, 0, 1]]),
    ],
)
def test_impossible_matrices_are_refused(matrix: NDArray[np.float64]) -> None:
    """Shapes, numbers and matrices that are no invertible affine transform are refused when made."""
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        Transform.from_matrix(matrix, (20, 30), (20, 30))
