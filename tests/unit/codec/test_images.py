"""Geometry, intensity mapping, options and placement, from values to messages and back."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.codec.images import (
    EncodingOptions,
    geometry_from_message,
    geometry_to_message,
    options_from_message,
    options_to_message,
    placement_from_message,
    placement_to_message,
)
from hilum.errors import InvalidField, LimitExceeded, OutsideImage
from hilum.geometry import DetectorFrame, Frame, ImageGeometry, PatientFrame, PixelFrame, PlaneFrame
from hilum.types import Identity, PercentileRange, Placement, Window
from hilum.v1 import image_pb2

numbers = st.floats(-1e6, 1e6)
positive = st.floats(1e-3, 1e3)


@st.composite
def directions(draw: st.DrawFn) -> Any:
    """Three orthonormal vectors as columns."""
    seed = draw(st.integers(0, 999))
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return tuple(tuple(float(value) for value in row) for row in q)


frames: st.SearchStrategy[Frame] = st.one_of(
    st.just(PixelFrame()),
    st.builds(PlaneFrame, st.tuples(positive, positive)),
    st.builds(DetectorFrame, st.tuples(positive, positive), st.none() | positive),
    st.builds(
        PatientFrame,
        st.tuples(numbers, numbers, numbers),
        directions(),
        st.tuples(positive, positive, st.just(0.0) | positive),
        st.text("0123456789.", max_size=20),
    ),
)
mappings = st.one_of(
    st.just(Identity()),
    st.builds(Window, numbers, positive),
    st.tuples(st.floats(0, 49), st.floats(50, 100)).map(lambda pair: PercentileRange(*pair)),
)
options = st.builds(EncodingOptions, mappings, st.text(max_size=9), st.floats(0.05, 20), st.none() | numbers)


@given(frames)
def test_geometry_round_trip(frame: Frame) -> None:
    """Every frame comes back as it was."""
    geometry = ImageGeometry(frame)
    assert geometry_from_message(geometry_to_message(geometry), "geometry") == geometry


@given(options)
def test_options_round_trip(value: EncodingOptions) -> None:
    """Encoding options come back as they were."""
    assert options_from_message(options_to_message(value), "options") == value


def test_absent_options_have_defaults() -> None:
    """Aspect and padding that are not sent are 1 and none; the mapping has no default."""
    message = image_pb2.EncodingOptions(
        intensity_mapping=image_pb2.IntensityMapping(identity=image_pb2.IdentityMapping())
    )
    assert options_from_message(message, "options") == EncodingOptions(Identity())
    with pytest.raises(InvalidField, match="required") as caught:
        options_from_message(image_pb2.EncodingOptions(), "options")
    assert caught.value.field == "options.intensity_mapping"


@pytest.mark.parametrize(
    "message",
    [
        image_pb2.ImageGeometry(),
        image_pb2.ImageGeometry(patient_lps=image_pb2.PatientLps()),
        image_pb2.ImageGeometry(patient_lps=image_pb2.PatientLps(spacing_mm=[0, 0, 5])),
        image_pb2.ImageGeometry(detector_plane=image_pb2.DetectorPlane(magnification=1.5)),
        image_pb2.ImageGeometry(image_plane_mm=image_pb2.ImagePlaneMm(spacing_mm=[0, 0])),
    ],
    ids=["no frame", "patient without spacing", "patient of zero spacing", "detector", "plane"],
)
def test_without_spacing_only_pixels_are_known(message: image_pb2.ImageGeometry) -> None:
    """Absent or zero spacing means pixels, whatever frame is named."""
    assert geometry_from_message(message, "geometry") == ImageGeometry()


_PATIENT: dict[str, Any] = {"origin_mm": [0, 0, 0], "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1], "spacing_mm": [1, 1, 1]}


@pytest.mark.parametrize(
    "change",
    [
        {"origin_mm": [0, 0]},
        {"direction": [1, 0, 0]},
        {"direction": [1, 0, 0, 0, 1, 0, 0, 0, 2]},
        {"direction": [1, 0, 0, 1, 0, 0, 0, 0, 1]},
        {"spacing_mm": [1, 1]},
        {"spacing_mm": [1, 0, 1]},
        {"spacing_mm": [-1, 1, 1]},
        {"spacing_mm": [1, 1, -1]},
        {"origin_mm": [float("nan"), 0, 0]},
        {"spacing_mm": [float("inf"), 1, 1]},
    ],
)
def test_impossible_patient_frames(change: dict[str, Any]) -> None:
    """A patient frame with missing, skewed, negative or infinite numbers is refused under its path."""
    message = image_pb2.ImageGeometry(patient_lps=image_pb2.PatientLps(**_PATIENT | change))
    with pytest.raises(InvalidField) as caught:
        geometry_from_message(message, "fixed.geometry")
    assert caught.value.field == "fixed.geometry.patient_lps"


@given(
    crop=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    offset=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    full=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_a_crop_lies_inside_or_is_refused(
    crop: tuple[int, int], offset: tuple[int, int], full: tuple[int, int]
) -> None:
    """A placement is accepted exactly where the whole crop lies in the full image."""
    placement = Placement(offset[0], offset[1], full)
    message = placement_to_message(placement)
    if offset[1] + crop[0] <= full[0] and offset[0] + crop[1] <= full[1]:
        assert placement_from_message(message, "placement", crop_size=crop, max_pixels=3600) == placement
    else:
        with pytest.raises(OutsideImage):
            placement_from_message(message, "placement", crop_size=crop, max_pixels=3600)


def test_full_images_are_bounded() -> None:
    """A full image of more pixels than accepted is refused, however small the crop."""
    message = placement_to_message(Placement(0, 0, (61, 60)))
    with pytest.raises(LimitExceeded) as caught:
        placement_from_message(message, "placement", crop_size=(1, 1), max_pixels=3600)
    assert caught.value.field == "placement.full_size"
