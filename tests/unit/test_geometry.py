"""Frames, spacings, and the maps between pixels and millimetres."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.geometry import (
    IDENTITY,
    DetectorFrame,
    ImageGeometry,
    PatientFrame,
    PixelFrame,
    PlaneFrame,
    patient_to_pixel,
    pixel_to_patient,
)

coordinates = st.floats(-500, 500)
positive = st.floats(0.01, 10)


@st.composite
def patient_frames(draw: st.DrawFn) -> PatientFrame:
    """Frames of any orientation, left- and right-handed."""
    q, _ = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 9999))).normal(size=(3, 3)))
    direction: Any = tuple(tuple(float(value) for value in row) for row in q)
    origin = draw(st.tuples(coordinates, coordinates, coordinates))
    return PatientFrame(origin, direction, draw(st.tuples(positive, positive, positive)))


@given(patient_frames(), st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=9))
def test_there_and_back(frame: PatientFrame, points: list[tuple[float, float]]) -> None:
    """Pixels of the plane go to the patient and back, and lie on the plane."""
    pixels, distance = patient_to_pixel(frame, pixel_to_patient(frame, points))
    np.testing.assert_allclose(pixels, points, atol=1e-5)
    np.testing.assert_allclose(distance, 0, atol=1e-7)


@given(patient_frames(), st.tuples(coordinates, coordinates), st.floats(-50, 50))
def test_distance_from_the_plane_is_signed(frame: PatientFrame, point: tuple[float, float], depth: float) -> None:
    """A point moved along the slice direction keeps its pixel and has the distance that it was moved by."""
    normal = np.asarray(frame.direction)[:, 2]
    pixels, distance = patient_to_pixel(frame, pixel_to_patient(frame, [point]) + depth * normal)
    np.testing.assert_allclose(pixels, [point], atol=1e-5)
    np.testing.assert_allclose(distance, [depth], atol=1e-7)


def test_the_example_of_dicom() -> None:
    """DICOM PS3.3 C.7.6.2.1.1: the first pixel's centre lies at the origin, and each index runs along its axis."""
    frame = PatientFrame((-100.0, 50.0, 7.0), IDENTITY, (0.5, 0.75, 3.0))
    assert pixel_to_patient(frame, [[0, 0]]).tolist() == [[-100, 50, 7]]
    assert pixel_to_patient(frame, [[2, 4]]).tolist() == [[-99, 53, 7]]
    assert pixel_to_patient(frame, [[2, 4, 5]]).tolist() == [[-99, 53, 22]]


@given(patient_frames(), st.tuples(st.integers(0, 300), st.integers(0, 300)), st.tuples(coordinates, coordinates))
def test_a_crop_keeps_its_place(frame: PatientFrame, offset: tuple[int, int], point: tuple[float, float]) -> None:
    """A pixel of a crop lies in the patient where it lay in the whole image."""
    cropped = ImageGeometry(frame).cropped(*offset).frame
    assert isinstance(cropped, PatientFrame)
    np.testing.assert_allclose(
        pixel_to_patient(cropped, [point]), pixel_to_patient(frame, [np.add(point, offset)]), atol=1e-6
    )


@pytest.mark.parametrize("frame", [PixelFrame(), PlaneFrame((0.5, 0.25)), DetectorFrame((0.2, 0.2), 1.1)])
def test_crops_without_a_place(frame: Any) -> None:
    """Outside the patient a crop has the geometry of the whole image."""
    assert ImageGeometry(frame).cropped(5, 7) == ImageGeometry(frame)


@pytest.mark.parametrize(
    ("frame", "spacing", "aspect"),
    [
        (PixelFrame(), None, 1.0),
        (PlaneFrame((0.5, 0.25)), (0.5, 0.25), 0.5),
        (PatientFrame((0, 0, 0), IDENTITY, (0.5, 2.0, 5.0)), (0.5, 2.0), 4.0),
        (DetectorFrame((0.3, 0.15)), None, 0.5),
        (DetectorFrame((0.3, 0.15), 1.5), (0.2, 0.1), 0.5),
    ],
)
def test_spacing_and_aspect(frame: Any, spacing: tuple[float, float] | None, aspect: float) -> None:
    """Lengths in the patient need a spacing that holds there: a detector's only with its magnification."""
    geometry = ImageGeometry(frame)
    assert geometry.plane_spacing_mm == (pytest.approx(spacing) if spacing else None)
    assert geometry.pixel_aspect == pytest.approx(aspect)


_SKEWED = ((1.0, 0.1, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@pytest.mark.parametrize(
    "build",
    [
        lambda: PatientFrame((0, 0, 0), _SKEWED, (1, 1, 1)),
        lambda: PatientFrame((0, 0, float("nan")), IDENTITY, (1, 1, 1)),
        lambda: PatientFrame((0, 0, 0), IDENTITY, (0, 1, 1)),
        lambda: PatientFrame((0, 0, 0), IDENTITY, (1, 1, -1)),
        lambda: PatientFrame((0, 0), IDENTITY, (1, 1, 1)),  # type: ignore[arg-type]  # on purpose
        lambda: PlaneFrame((0.5, 0)),
        lambda: PlaneFrame((0.5, float("inf"))),
        lambda: DetectorFrame((0.5, -1)),
        lambda: DetectorFrame((0.5, 0.5), 0),
    ],
)
def test_impossible_frames(build: Any) -> None:
    """Frames that cannot exist cannot be built."""
    with pytest.raises(ValueError, match=r"must|need"):
        build()


def test_a_plane_of_unknown_thickness() -> None:
    """A slice spacing of 0 says that the thickness is not known; the plane is as good as any."""
    frame = PatientFrame((0, 0, 0), IDENTITY, (1, 1, 0))
    assert patient_to_pixel(frame, [[3, 4, 9]])[1].tolist() == [9]
