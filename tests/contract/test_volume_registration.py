"""RegisterVolumes: the fake and the service."""

import itertools
from typing import Any

import grpc
import numpy as np
import pytest

from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2
from tests.contract.refusals import Case, refused
from tests.contract.volumes import (
    FIXED,
    FIXED_PLACE,
    MOVING,
    MOVING_PLACE,
    SHIFT_MM,
    SIDE,
    SPACING_MM,
    described,
    frame,
    registering_volumes,
)
from tests.contract.wiring import MAX_VOLUME_BYTES, Caller

FIELD, TENSOR, LIMIT = "INVALID_FIELD", "INVALID_TENSOR", "LIMIT_EXCEEDED"
NAN = float("nan")


def registered(caller: Caller, **fields: Any) -> tuple[list[pb.RegistrationProgress], pb.VolumeRegistrationResult]:
    """Returns the progress and the result."""
    *progress, last = list(caller.call("RegisterVolumes", registering_volumes(**fields)))
    assert last.WhichOneof("event") == "result"
    assert all(event.WhichOneof("event") == "progress" for event in progress)
    return [event.progress for event in progress], last.result


def test_a_shift_in_the_patient(caller: Caller) -> None:
    """A body, stored in another direction and lying elsewhere, is found by that shift in LPS; the transform is kept."""
    progress, result = registered(caller)
    assert progress
    assert all(0 <= step.fraction <= 1 and step.stage for step in progress)
    points = [[60.0, 100.0, 130.0], [120.0, 90.0, 80.0]]
    for reference in (
        pb.TransformReference(transform_id=result.transform.transform_id),
        pb.TransformReference(transform=result.transform),
    ):
        request = pb.TransformPointsRequest(
            transform=reference,
            points=[pb.Coordinates(values=point) for point in points],
            direction=pb.TRANSFORM_DIRECTION_FIXED_TO_MOVING,
            unit=pb.POINT_UNIT_PATIENT_LPS_MM,
        )
        moved = np.array([list(point.values) for point in caller.call("TransformPoints", request).points])
        assert np.abs(moved - points - SHIFT_MM).max() < SPACING_MM / 4
    assert (result.transform.fixed_slices, result.transform.moving_slices) == (SIDE, SIDE)
    assert result.stages
    assert 0 < result.overlap_fraction <= 1
    assert result.similarity_after > result.similarity_before or result.similarity_before > 0.9
    assert not result.HasField("deformation")
    there = np.reshape(result.transform.pixel_matrix, (4, 4))
    back = np.reshape(result.inverse.pixel_matrix, (4, 4))
    np.testing.assert_allclose(back @ there, np.eye(4), atol=1e-6)


def test_a_deformable_one(caller: Caller) -> None:
    """A deformable transform has a field in three dimensions, of no more points than promised, and does not fold."""
    _, result = registered(caller, transform_model=pb.TRANSFORM_MODEL_DEFORMABLE, stiffness=2.0)
    for transform in (result.transform, result.inverse):
        components, *points = transform.displacement_field.values.shape
        assert components == 3
        assert max(points) <= 64
    assert result.deformation.folding_fraction == 0
    assert result.deformation.least_jacobian > 0
    assert result.inverse_residual_mm < 0.5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_voxels_of_any_type_arrive(caller: Caller, dtype: str) -> None:
    """All four data types are taken, of either volume, and padding does not count."""
    voxels = np.full((20, 24, 28), 0 if dtype[0] == "u" else -1000, dtype)
    voxels[6:14, 7:17, 9:19] = 200
    moving = voxels[:, :, 2:].astype(np.float32)
    padded = {"fixed": described(voxels, FIXED_PLACE, padding_value=7.0)}
    _, result = registered(caller, fixed=voxels, moving=moving, chunk_bytes=5_001, volumes=padded)
    assert len(result.transform.pixel_matrix) == 16


def _case(name: str, reason: str, field: str = "", **fields: Any) -> Case:
    return Case(name, "RegisterVolumes", lambda _: registering_volumes(**fields), reason, field)


def _stream(name: str, reason: str, field: str, *contents: bytes | None) -> Case:
    """Voxels, or None for the first message."""

    def messages(_: Caller) -> Any:
        first = next(registering_volumes())
        return iter([first if data is None else pb.RegisterVolumesRequest(voxels=data) for data in contents])

    return Case(name, "RegisterVolumes", messages, reason, field)


def _volume(name: str, reason: str, field: str, **fields: Any) -> Case:
    volumes = {"moving": described(MOVING, **{"geometry": MOVING_PLACE} | fields)}
    return _case(name, reason, f"registration.moving.{field}" if field else "", volumes=volumes)


def _initial(**fields: Any) -> pb.Transform:
    size = image_pb2.ImageSize(height_px=SIDE, width_px=SIDE)
    known: dict[str, Any] = {
        "pixel_matrix": np.eye(4).ravel(),
        "fixed_size": size,
        "moving_size": size,
        "fixed_slices": SIDE,
        "moving_slices": SIDE,
    }
    return pb.Transform(**known | fields)


_BYTES = FIXED.nbytes
_MANY = np.zeros((180, 160, 128), np.int16)
REFUSALS = [
    _stream("nothing", FIELD, "registration"),
    _stream("voxels first", FIELD, "registration", bytes(100)),
    _stream("described twice", FIELD, "registration", None, None),
    _stream("only one volume", TENSOR, "voxels", None, bytes(_BYTES)),
    _stream("too few bytes", TENSOR, "voxels", None, bytes(_BYTES), bytes(_BYTES - 1)),
    _stream("too many bytes", TENSOR, "voxels", None, bytes(_BYTES), bytes(_BYTES + 1)),
    _stream("bytes of both", TENSOR, "voxels", None, bytes(2 * _BYTES)),
    _volume("two axes", FIELD, "shape", shape=(4, 5)),
    _volume("thin", FIELD, "shape", shape=(3, 40, 40)),
    _volume("huge", LIMIT, "shape", shape=(2**32 - 1,) * 3),
    _volume("type unspecified", FIELD, "data_type", data_type=0),
    _volume("padding NaN", FIELD, "padding_value", padding_value=NAN),
    _volume("no place", "FRAME_NOT_SUPPORTED", "", geometry=None),
    _volume("flat", FIELD, "geometry.patient_lps.spacing_mm", geometry=frame((0, 0, 0), spacing=(1, 1, 0))),
    _volume("needles", FIELD, "geometry", geometry=frame((0, 0, 0), spacing=(0.1, 0.1, 9.0))),
    _volume("another scale", FIELD, "geometry", geometry=frame((0, 0, 0), spacing=(0.1,) * 3)),
    _case(
        "too large together",
        LIMIT,
        "registration.moving.shape",
        volumes={"fixed": described(_MANY[:100], FIXED_PLACE), "moving": described(_MANY, FIXED_PLACE)},
    ),
    _case("model unknown", FIELD, "registration.transform_model", transform_model=99),
    _case("stiffness without bending", FIELD, "registration.stiffness", stiffness=2.0),
    _case(
        "stiffness NaN",
        FIELD,
        "registration.stiffness",
        stiffness=NAN,
        transform_model=pb.TRANSFORM_MODEL_DEFORMABLE,
    ),
    _case(
        "start of nine",
        FIELD,
        "registration.initial_transform.pixel_matrix",
        initial_transform=_initial(pixel_matrix=[1] * 9),
    ),
    _case(
        "start of other volumes",
        FIELD,
        "registration.initial_transform",
        initial_transform=_initial(fixed_slices=SIDE + 1),
    ),
    _case("constant", "NO_CONTENT", fixed=np.full_like(FIXED, 7)),
    _case("constant moving", "NO_CONTENT", moving=np.full_like(MOVING, 7)),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_refusals(caller: Caller, case: Case) -> None:
    """Every bad request is refused with the reason and the field path that the contract promises."""
    refusal = refused(lambda: list(caller.call(case.method, case.request(caller))))
    assert (refusal.reason, refusal.field) == (case.reason, case.field)


def test_callers_that_leave_leave_room(real_caller: Caller) -> None:
    """Cancelled registrations, many more than may run and wait, and one past its deadline, keep nobody out."""
    bending: dict[str, Any] = {"transform_model": pb.TRANSFORM_MODEL_DEFORMABLE}
    for _ in range(30):
        call = real_caller.call("RegisterVolumes", registering_volumes(**bending))
        assert next(call).progress.stage
        call.cancel()
        with pytest.raises(grpc.RpcError) as left:
            list(call)
        assert left.value.code() is grpc.StatusCode.CANCELLED
    with pytest.raises(grpc.RpcError) as late:
        list(real_caller.call("RegisterVolumes", registering_volumes(**bending), timeout=0.05))
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    _, result = registered(real_caller, **bending)
    assert result.HasField("deformation")


def test_progress_is_told_level_by_level(real_caller: Caller) -> None:
    """Nothing is told twice, and what is told goes on."""
    progress, _ = registered(real_caller, transform_model=pb.TRANSFORM_MODEL_DEFORMABLE)
    fractions = [step.fraction for step in progress]
    assert fractions == sorted(fractions)
    assert all(one != other for one, other in itertools.pairwise(progress))


def test_limit_is_what_the_tests_think() -> None:
    """One of the two volumes of the case above fits alone."""
    assert _MANY.nbytes <= MAX_VOLUME_BYTES < _MANY.nbytes + _MANY[:100].nbytes
