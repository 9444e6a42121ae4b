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
from hilum.displacement_field import DisplacementField
from hilum.errors import InvalidField, InvalidTensor
from hilum.geometry import ImageGeometry, PlaneFrame
from hilum.transform import Transform
from hilum.v1 import fusion_service_pb2 as pb
from tests.unit import drawn_transforms
from tests.unit.drawn_transforms import UNHURRIED

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


@UNHURRIED
@given(transforms())
def test_round_trip(transform: Transform) -> None:
    """A transform comes back as it was, under the same id."""
    message = transform_to_message(transform)
    back = transform_from_message(message, "transform")
    assert back == transform
    assert back.transform_id == transform.transform_id == message.transform_id


@UNHURRIED
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


@UNHURRIED
@given(drawn_transforms.transforms(deformable=True))
def test_deformable_round_trip(transform: Transform) -> None:
    """Displacements and their grid come back as they were, between images and between volumes."""
    message = transform_to_message(transform)
    assert transform_from_message(pb.Transform.FromString(message.SerializeToString()), "transform") == transform
    message.displacement_field.values.data = bytes(len(message.displacement_field.values.data))
    with pytest.raises(InvalidField, match="not the id"):
        transform_from_message(message, "transform")


def bent_message() -> pb.Transform:
    """A deformable transform, its id left out."""
    field = DisplacementField(np.zeros((2, 4, 5)))
    message = transform_to_message(Transform.from_matrix(np.eye(3), (4, 5), (4, 5), displacement_field=field))
    message.transform_id = b""
    return message


def test_the_grid_may_be_left_out() -> None:
    """Without a matrix of their own, displacements are those of the fixed image's pixels."""
    message = bent_message()
    del message.displacement_field.grid_matrix[:]
    assert transform_from_message(message, "transform").displacement_field == DisplacementField(np.zeros((2, 4, 5)))


def _refused(change: str) -> pb.Transform:
    message = bent_message()
    field = message.displacement_field
    match change:
        case "values":
            message.displacement_field.ClearField("values")
        case "length":
            field.values.data = field.values.data[:-4]
        case "type":
            field.values.data_type = 1  # type: ignore[assignment]  # DATA_TYPE_UINT8
        case "NaN":
            field.values.data = np.full((2, 4, 5), np.nan, np.float32).tobytes()
        case "axes":
            field.values.shape[:] = [2, 20]
        case "components":
            field.values.shape[:] = [4, 2, 5]
        case "large":
            field.values.data = np.full((2, 4, 5), 2e9, np.float32).tobytes()
        case "grid":
            field.grid_matrix.append(1)
        case "flat grid":
            field.grid_matrix[0] = 0
        case _:
            message.fixed_slices = 2
    return message


@pytest.mark.parametrize("change", ["values", "length", "type", "NaN", "axes"])
def test_displacements_that_are_no_tensor(change: str) -> None:
    """Shape, type and length that disagree, and numbers that are not finite, are refused under their path."""
    with pytest.raises(InvalidTensor) as caught:
        transform_from_message(_refused(change), "transform")
    assert caught.value.field == "transform.displacement_field.values"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("components", "transform.displacement_field"),
        ("large", "transform.displacement_field"),
        ("grid", "transform.displacement_field.grid_matrix"),
        ("flat grid", "transform.displacement_field"),
        ("slices", "transform.pixel_matrix"),
    ],
)
def test_fields_that_are_none(change: str, field: str) -> None:
    """A field of another dimension, beyond all images or on a degenerate grid is refused, and half a volume, too."""
    with pytest.raises(InvalidField) as caught:
        transform_from_message(_refused(change), "transform")
    assert caught.value.field == field


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
