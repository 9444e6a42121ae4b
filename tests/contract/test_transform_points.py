"""Points taken by deformable transforms, and by transforms between volumes: the fake and the service."""

from dataclasses import replace

import numpy as np
import pytest

from hilum.codec.transforms import transform_to_message
from hilum.displacement_field import DisplacementField
from hilum.geometry import ImageGeometry, PatientFrame
from hilum.transform import Transform
from hilum.v1 import fusion_service_pb2 as pb
from tests.contract.fusing import moving_points
from tests.contract.refusals import refused
from tests.contract.wiring import Caller

AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
GEOMETRY = ImageGeometry(PatientFrame((10.0, 20.0, 30.0), AXES, (1.0, 2.0, 3.0), "1.2.3"))
BENT = Transform.from_matrix(
    [[1.1, 0.1, 2.0], [0.0, 0.9, -1.0], [0.0, 0.0, 1.0]],
    (12, 16),
    (10, 11),
    displacement_field=DisplacementField(np.random.default_rng(0).normal(size=(2, 12, 16)) * 0.1),
)
VOLUMES = Transform.from_matrix(
    np.diag([1.0, 1.0, 2.0, 1.0]),
    (4, 12, 16),
    (8, 12, 16),
    fixed_geometry=GEOMETRY,
    moving_geometry=GEOMETRY,
    displacement_field=DisplacementField(np.full((3, 4, 12, 16), 0.5)),
)
BACK = pb.TRANSFORM_DIRECTION_MOVING_TO_FIXED
LPS = pb.POINT_UNIT_PATIENT_LPS_MM


def inline(transform: Transform) -> pb.TransformReference:
    """A transform by value."""
    return pb.TransformReference(transform=transform_to_message(transform))


@pytest.mark.parametrize(
    ("transform", "points"), [(BENT, [[3.3, 4.1], [9.9, 0.2]]), (VOLUMES, [[3.3, 4.1, 1.2], [9.9, 0.2, 2.0]])]
)
def test_points_go_as_the_client_takes_them_and_come_back(
    caller: Caller, transform: Transform, points: list[list[float]]
) -> None:
    """Pixels go where `hilum.Transform` takes them, displacements included, and come back."""
    there = caller.call("TransformPoints", moving_points(points, transform=inline(transform))).points
    moved = [list(point.values) for point in there]
    np.testing.assert_allclose(moved, transform.apply(points), atol=1e-9)
    request = moving_points(moved, transform=inline(transform), direction=BACK)
    back = [list(point.values) for point in caller.call("TransformPoints", request).points]
    np.testing.assert_allclose(back, points, atol=1e-6)


def streamed(caller: Caller, *requests: pb.TransformPointsRequest) -> list[pb.TransformPointsResponse]:
    """The answers to requests of one stream."""
    messages = iter([pb.StreamTransformPointsRequest(asked=request) for request in requests])
    return [response.found for response in caller.call("StreamTransformPoints", messages)]


def test_a_stream_answers_each_request_as_alone(caller: Caller) -> None:
    """In order, many points or few, either direction; a request without a transform means the one named last."""
    first = moving_points([[3.3, 4.1]], transform=inline(BENT))
    second = moving_points(np.random.default_rng(0).uniform(0, 9, (2000, 2)).tolist())
    third = moving_points([[1.0, 2.0]], direction=BACK)
    other = moving_points([[3.3, 4.1, 1.2]], transform=inline(VOLUMES))
    unnamed = [pb.TransformPointsRequest() for _ in range(2)]
    for request, message in zip(unnamed, (second, third), strict=True):
        request.CopyFrom(message)
        request.ClearField("transform")
    for message in (second, third):
        message.transform.CopyFrom(inline(BENT))
    found = streamed(caller, first, *unnamed, other)
    assert found == [caller.call("TransformPoints", request) for request in (first, second, third, other)]


def test_an_error_ends_a_stream(caller: Caller) -> None:
    """What came before it is answered; the first request must name a transform."""
    good, bad = moving_points([[1.0, 1.0]], transform=inline(BENT)), moving_points([[1.0]])
    answers = caller.call(
        "StreamTransformPoints", iter([pb.StreamTransformPointsRequest(asked=it) for it in (good, bad, good)])
    )
    assert len(next(answers).found.points) == 1
    refusal = refused(lambda: next(answers))
    assert (refusal.reason, refusal.field) == ("INVALID_FIELD", "points[0]")
    nameless = moving_points([[1.0, 1.0]])
    nameless.ClearField("transform")
    refusal = refused(lambda: streamed(caller, nameless))
    assert (refusal.reason, refusal.field) == ("INVALID_FIELD", "transform")


def test_patient_points_of_volumes_lie_anywhere(caller: Caller) -> None:
    """Between volumes LPS points need lie in no plane."""
    points = [[12.0, 25.0, 31.7]]
    found = caller.call("TransformPoints", moving_points(points, transform=inline(VOLUMES), unit=LPS)).points
    np.testing.assert_allclose([list(point.values) for point in found], VOLUMES.apply_patient(points), atol=1e-9)


@pytest.mark.parametrize(("transform", "point"), [(BENT, (1, 2, 3)), (VOLUMES, (1, 2))])
def test_pixels_have_the_coordinates_of_the_transform(
    caller: Caller, transform: Transform, point: tuple[float, ...]
) -> None:
    """Three coordinates between images, and two between volumes, are refused under the first point's path."""
    request = moving_points([point], transform=inline(transform))
    refusal = refused(lambda: caller.call("TransformPoints", request))
    assert (refusal.reason, refusal.field) == ("INVALID_FIELD", "points[0]")


def test_damaged_displacements_are_refused(caller: Caller) -> None:
    """Displacements whose bytes do not fit their shape are refused before they are used."""
    message = transform_to_message(replace(BENT, flags=()))
    message.displacement_field.values.data = message.displacement_field.values.data[:-4]
    request = moving_points([(1, 2)], transform=pb.TransformReference(transform=message))
    refusal = refused(lambda: caller.call("TransformPoints", request))
    assert refusal.reason == "INVALID_TENSOR"
