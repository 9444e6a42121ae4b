"""Tests of transforms between two images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hilum.displacement_field import DisplacementField, grid_points
from hilum.errors import FrameNotSupported, InvalidField, TransformFlagged
from hilum.geometry import DetectorFrame, ImageGeometry, PatientFrame, PlaneFrame, pixel_to_patient
from hilum.transform import Transform
from tests.unit import drawn_transforms
from tests.unit.drawn_transforms import UNHURRIED, Kinds, inside

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


@UNHURRIED
@given(transforms(), points)
def test_inverse_takes_points_back(transform: Transform, given_points: list[tuple[float, float]]) -> None:
    """Forward and back is where one began, by `inverse()` and by the argument alike."""
    moved = transform.apply(given_points)
    assert moved.shape == (len(given_points), 2)
    assert np.allclose(transform.apply(moved, inverse=True), given_points, atol=1e-6)
    assert np.allclose(transform.inverse().apply(moved), given_points, atol=1e-6)


@UNHURRIED
@given(transforms())
def test_transform_then_its_inverse_is_the_identity(transform: Transform) -> None:
    """A transform followed by its inverse is the identity of the fixed image, sizes and geometries included."""
    there_and_back = transform.then(transform.inverse())
    assert np.allclose(there_and_back.matrix, np.eye(3), atol=1e-6)
    assert there_and_back.fixed_size == there_and_back.moving_size == transform.fixed_size
    assert there_and_back.moving_geometry == transform.fixed_geometry


@UNHURRIED
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


@UNHURRIED
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
        replace(base, displacement_field=DisplacementField(np.zeros((2, 20, 30)))),
        replace(base, displacement_field=DisplacementField(np.ones((2, 20, 30)))),
        replace(base, displacement_field=DisplacementField(np.zeros((2, 20, 30)), np.diag([2.0, 1.0, 1.0]))),
        replace(base, displacement_field=DisplacementField(np.zeros((2, 30, 20)))),
        Transform.from_matrix(np.eye(4), (2, 20, 30), (2, 20, 30)),
        Transform.from_matrix(np.eye(4), (2, 20, 30), (3, 20, 30)),
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


deformable = drawn_transforms.transforms(deformable=True)


@UNHURRIED
@given(deformable)
def test_a_deformable_transform_displaces_and_then_maps(transform: Transform) -> None:
    """A fixed pixel is displaced by the field, in fixed pixels, and then taken by the matrix."""
    pixels = inside(transform)
    field = transform.displacement_field
    assert field is not None
    displaced = np.column_stack([pixels + field.at(pixels), np.ones(len(pixels))])
    expected = (displaced @ np.array(transform.pixel_matrix).T)[:, :-1]
    np.testing.assert_allclose(transform.apply(pixels), expected, atol=1e-9)
    np.testing.assert_allclose(transform.apply(expected, inverse=True), pixels, atol=1e-6)


@UNHURRIED
@given(deformable)
def test_the_residual_of_an_inverse_is_stated(transform: Transform) -> None:
    """`inverse()` is exact at moving pixels that come from the fixed image; `round_trip_px` says how far it is off."""
    back = transform.inverse()
    assert (back.fixed_grid, back.moving_grid) == (transform.moving_grid, transform.fixed_grid)
    moving = grid_points(transform.moving_grid.size)
    origins = back.apply(moving)
    field = transform.displacement_field
    assert field is not None
    within = field.covers(origins)
    np.testing.assert_allclose(transform.apply(origins[within]), moving[within], atol=1e-4)
    residual = transform.round_trip_px(back)
    assert residual.shape == transform.fixed_grid.size
    known = np.isfinite(residual)
    start = grid_points(transform.fixed_grid.size).reshape(*residual.shape, -1)
    returned = back.apply(transform.apply(start[known]))
    np.testing.assert_allclose(np.linalg.norm(returned - start[known], axis=-1), residual[known], atol=1e-9)
    assert residual[known].max(initial=0) < 0.5


def test_residuals_are_unknown_beyond_the_moving_image() -> None:
    """Pixels that go outside of the moving image have no residual; an affine inverse has none at all inside."""
    residual = shift(25, 0).round_trip_px(shift(25, 0).inverse())
    assert np.isnan(residual[:, 5:]).all()
    assert np.allclose(residual[:, :5], 0)


@UNHURRIED
@given(drawn_transforms.transforms(Kinds(planes=False)))
def test_patient_points_of_volumes_and_slices(transform: Transform) -> None:
    """LPS points go where the pixels there go, between volumes as between slices, and come back."""
    pixels = inside(transform)
    fixed, moving = (
        drawn_transforms.to_mm(grid, points, 3)
        for grid, points in ((transform.fixed_grid, pixels), (transform.moving_grid, transform.apply(pixels)))
    )
    np.testing.assert_allclose(transform.apply_patient(fixed), moving, atol=1e-4)
    np.testing.assert_allclose(transform.apply_patient(moving, inverse=True), fixed, atol=1e-4)


def test_a_matrix_alone_is_for_affine_transforms_of_images() -> None:
    """What works on a 3 x 3 matrix alone is refused a deformable transform and one of volumes, not misled by them."""
    bent = shift(1, 2, displacement_field=DisplacementField(np.zeros((2, 20, 30))))
    volumes = Transform.from_matrix(np.eye(4), (2, 20, 30), (2, 20, 30))
    for transform, reason in ((bent, "deformable"), (volumes, "between volumes")):
        with pytest.raises(InvalidField, match=reason):
            _ = transform.matrix
    with pytest.raises(FrameNotSupported, match="a volume has no plane"):
        volumes.apply_plane_mm([[0, 0]])
    with pytest.raises(InvalidField, match="3 coordinates"):
        volumes.apply([[1, 2]])


@pytest.mark.parametrize(
    ("side", "sizes", "geometry", "field"),
    [
        (4, ((20, 30), (20, 30)), None, None),
        (3, ((2, 20, 30), (2, 20, 30)), None, None),
        (4, ((2, 20, 30), (20, 30)), None, None),
        (4, ((2, 20, 30), (2, 20, 30)), PLANE, None),
        (4, ((2, 20, 30), (2, 20, 30)), CORONAL, None),
        (3, ((20, 30), (20, 30)), None, DisplacementField(np.zeros((3, 2, 20, 30)))),
        (4, ((2, 20, 30), (2, 20, 30)), None, DisplacementField(np.zeros((2, 20, 30)))),
    ],
)
def test_parts_that_do_not_belong_together(
    side: int,
    sizes: tuple[tuple[int, ...], tuple[int, ...]],
    geometry: ImageGeometry | None,
    field: DisplacementField | None,
) -> None:
    """Matrix, sizes, frames and displacement field must be of two dimensions, or all of three with spaced slices."""
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        Transform.from_matrix(np.eye(side), *sizes, fixed_geometry=geometry, displacement_field=field)


def test_flags_are_accepted_by_name() -> None:
    """A transform is used where each of its flags is named, and refused with those that are not."""
    flagged = shift(0, 0, flags=("LOW_OVERLAP", "VIEWS_DIFFER"))
    flagged.require_accepted(["VIEWS_DIFFER", "LOW_OVERLAP", "LARGE_DEFORMATION"])
    shift(0, 0).require_accepted([])
    with pytest.raises(TransformFlagged, match=r"flagged VIEWS_DIFFER$"):
        flagged.require_accepted(["LOW_OVERLAP"])
