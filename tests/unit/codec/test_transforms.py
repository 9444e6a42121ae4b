"""Transforms and references to them, as they travel."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.codec.transforms import (
    FLAG_NAMES,
    flag_name,
    flags_from_message,
    flags_to_message,
    reference_from_message,
    reference_to_message,
    transform_from_message,
    transform_to_message,
)
from hilum.errors import InvalidField
from hilum.geometry import ImageGeometry, PlaneFrame
from hilum.transform import Transform
from hilum.v1 import fusion_service_pb2 as pb

sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@st.composite
def transforms(draw: st.DrawFn) -> Transform:
    """Invertible transforms with any flags."""
    numbers = st.floats(-100, 100)
    matrix = np.eye(3)
    matrix[:2] = np.reshape(draw(st.tuples(*[numbers] * 6)), (2, 3))
    if abs(np.linalg.det(matrix)) < 1e-6:
        matrix[:2, :2] = np.eye(2)
    return Transform.from_matrix(
        matrix,
        draw(sizes),
        draw(sizes),
        fixed_geometry=ImageGeometry(PlaneFrame((0.5, 0.25))),
        flags=tuple(draw(st.sets(st.sampled_from(sorted(FLAG_NAMES))))),
        algorithm=draw(st.text(max_size=9)),
    )


@given(transforms())
def test_round_trip(transform: Transform) -> None:
    """A transform comes back as it was, under the same id."""
    message = transform_to_message(transform)
    back = transform_from_message(message, "transform")
    assert back == transform
    assert back.transform_id == transform.transform_id == message.transform_id


@given(transforms(), st.data())
def test_nothing_of_it_can_be_changed(transform: Transform, data: st.DataObject) -> None:
    """A transform whose flags, numbers or algorithm were changed is not the one that its id names."""
    message = transform_to_message(transform)
    match data.draw(st.sampled_from(["flags", "matrix", "algorithm", "size"])):
        case "flags" if message.flags:
            del message.flags[:]
        case "matrix":
            message.pixel_matrix[2] += 1
        case "size":
            message.fixed_size.height_px += 1
        case _:
            message.algorithm += "x"
    with pytest.raises(InvalidField) as caught:
        transform_from_message(message, "transform")
    assert caught.value.field == "transform.transform_id"
    message.transform_id = b""
    assert transform_from_message(message, "transform").transform_id != transform.transform_id


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e10])
@pytest.mark.parametrize("place", range(9))
def test_numbers_out_of_range(place: int, value: float) -> None:
    """Numbers that are not finite, or beyond any image, are refused wherever they stand."""
    message = transform_to_message(Transform.from_matrix(np.eye(3), (5, 5), (5, 5)))
    message.pixel_matrix[place] = value
    with pytest.raises(InvalidField) as caught:
        transform_from_message(message, "transform")
    assert caught.value.field == "transform.pixel_matrix"


def test_flags_have_names() -> None:
    """Flags arrive as sorted names; one of a newer contract is "UNKNOWN", and is refused in a request."""
    for first, second in itertools.combinations(sorted(FLAG_NAMES), 2):
        assert flags_from_message(flags_to_message([second, first]), "flags") == (first, second)
    assert flag_name(pb.TransformFlag.ValueType(99)) == "UNKNOWN"
    for number in (0, 99):
        with pytest.raises(InvalidField):
            flags_from_message([pb.TransformFlag.ValueType(number)], "flags")
    with pytest.raises(ValueError, match="MADE_UP"):
        flags_to_message(["MADE_UP"])


def test_references() -> None:
    """A reference is a transform or an id of 32 bytes."""
    transform = Transform.from_matrix(np.eye(3), (5, 5), (5, 5))
    assert reference_from_message(reference_to_message(transform), "t") == transform
    identity = transform.transform_id
    assert reference_from_message(reference_to_message(identity), "t") == identity
    for message, field in (
        (pb.TransformReference(), "t"),
        (pb.TransformReference(transform_id=b"x"), "t.transform_id"),
        (pb.TransformReference(transform=pb.Transform()), "t.transform.pixel_matrix"),
    ):
        with pytest.raises(InvalidField) as caught:
            reference_from_message(message, "t")
        assert caught.value.field == field
