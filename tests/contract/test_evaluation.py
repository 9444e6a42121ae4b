"""EvaluateRegistration: the fake and the service."""

import numpy as np
import pytest

from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2
from tests.contract.fusing import FIXED_CENTRE, MOVING_CENTRE, MOVING_SIZE, SIZE, evaluating, mask, organ, pair, patient
from tests.contract.fusing import transform as a_transform
from tests.contract.messages import box
from tests.contract.refusals import Case, refused
from tests.contract.wiring import Caller

SHIFT = np.subtract(MOVING_CENTRE, FIXED_CENTRE)
SPACING = 0.5


def reference(shift: tuple[float, float], **fields: object) -> pb.TransformReference:
    matrix = [1, 0, shift[0], 0, 1, shift[1], 0, 0, 1]
    return pb.TransformReference(transform=a_transform(pixel_matrix=matrix, **fields))


def test_what_fits_fits(caller: Caller) -> None:
    """Under the true shift the organ agrees but for its pixels, and a landmark 3 and 4 px away is missed by 5."""
    found = caller.call("EvaluateRegistration", evaluating(transform=reference((SHIFT[0], SHIFT[1]))))
    assert found.unit == pb.LENGTH_UNIT_PX
    assert list(found.landmarks.errors) == pytest.approx([5.0])
    assert (found.landmarks.mean, found.landmarks.p95, found.landmarks.max) == pytest.approx((5.0,) * 3)
    (target,) = found.targets
    assert target.dice > 0.98
    assert target.centroid_error < 0.2
    assert target.mean_surface_distance < 0.5
    assert found.folding_fraction == 0


def test_what_is_off_is_off_in_mm(caller: Caller) -> None:
    """A transform that is 6 px off in x misses the target by 6 px: 3 mm where a pixel is half a millimetre."""
    place = patient(spacing=(SPACING, SPACING, 1.0))
    off = reference((SHIFT[0] + 6, SHIFT[1]), moving_geometry=place)
    found = caller.call("EvaluateRegistration", evaluating(transform=off, landmarks=[]))
    assert found.unit == pb.LENGTH_UNIT_MM
    assert not found.HasField("landmarks")
    (target,) = found.targets
    assert target.centroid_error == pytest.approx(3.0, abs=0.1)
    assert target.dice < 0.95
    assert 0.5 < target.mean_surface_distance < target.max_surface_distance < 3.6


def _case(name: str, reason: str, field: str, **fields: object) -> Case:
    return Case(name, "EvaluateRegistration", lambda _: evaluating(**fields), reason, field)


_ORGAN = pb.Target(mask=mask(organ(MOVING_SIZE, MOVING_CENTRE)))
REFUSALS = [
    _case("nothing known", "INVALID_FIELD", "landmarks", targets=[], landmarks=[]),
    _case("no transform", "INVALID_FIELD", "transform", transform=None),
    _case("unknown", "TRANSFORM_NOT_FOUND", "", transform={"transform_id": bytes(32)}),
    _case(
        "a prompt",
        "INVALID_FIELD",
        "targets[0].in_fixed",
        targets=[pair(box(1, 1, 9, 9), organ(MOVING_SIZE, MOVING_CENTRE))],
    ),
    _case("a target missing", "INVALID_FIELD", "targets[0].in_fixed", targets=[pb.TargetPair(in_moving=_ORGAN)]),
    _case(
        "an empty mask",
        "NO_CONTENT",
        "",
        targets=[pair(np.zeros(SIZE, np.bool_), organ(MOVING_SIZE, MOVING_CENTRE))],
    ),
    _case("many targets", "LIMIT_EXCEEDED", "targets", targets=[pb.TargetPair()] * 17),
    _case("many landmarks", "LIMIT_EXCEEDED", "landmarks", landmarks=[pb.LandmarkPair()] * 101),
    _case("half a landmark", "INVALID_FIELD", "landmarks[0].in_fixed", landmarks=[pb.LandmarkPair()]),
    _case(
        "outside",
        "OUTSIDE_IMAGE",
        "landmarks[0].in_moving",
        landmarks=[pb.LandmarkPair(in_fixed=image_pb2.Point(), in_moving=image_pb2.Point(x=1e6))],
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_refusals(caller: Caller, case: Case) -> None:
    """Every bad request is refused with the reason and the field path that the contract promises."""
    refusal = refused(lambda: caller.call(case.method, case.request(caller)))
    assert (refusal.reason, refusal.field) == (case.reason, case.field)
