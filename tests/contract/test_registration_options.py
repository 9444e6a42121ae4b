"""Registrations as they are asked for, and what comes with a deformable one: the fake and the service."""

from typing import Any

import grpc
import numpy as np
import pytest

from hilum.codec.transforms import transform_from_message
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2
from tests.contract.fusing import (
    FIXED_CENTRE,
    MOVING_CENTRE,
    MOVING_SIZE,
    SHIFT,
    SIZE,
    fusing,
    image,
    mask,
    moving_points,
    organ,
    registering,
    resampling,
    transform,
)
from tests.contract.messages import array_of
from tests.contract.registered import register
from tests.contract.wiring import Caller

DEFORMABLE: dict[str, Any] = {"transform_model": pb.TRANSFORM_MODEL_DEFORMABLE}


def test_a_deformable_registration_bends_and_is_used_everywhere(caller: Caller) -> None:
    """Its transform has a displacement field, and fusing, resampling and taking points go through it."""
    _, result = register(caller, **DEFORMABLE)
    found = transform_from_message(result.transform, "transform")
    assert found.displacement_field is not None
    assert result.HasField("deformation")
    assert 0 < result.deformation.least_jacobian <= result.deformation.largest_jacobian
    assert result.deformation.folding_fraction == 0
    reference = pb.TransformReference(transform_id=result.transform.transform_id)
    flags = result.transform.flags
    there = caller.call("TransformPoints", moving_points([FIXED_CENTRE], transform=reference)).points[0].values
    np.testing.assert_allclose(there, found.apply([FIXED_CENTRE])[0], atol=1e-9)
    np.testing.assert_allclose(there, MOVING_CENTRE, atol=2)
    ramp = np.add.outer(np.zeros(MOVING_SIZE[0]), np.arange(MOVING_SIZE[1])).astype(np.float32)
    request = resampling(moving=image(ramp), transform=reference, accepted_flags=flags)
    resampled = array_of(caller.call("ResampleImage", request).image)
    x, y = int(FIXED_CENTRE[0]), int(FIXED_CENTRE[1])
    assert resampled[y, x] == pytest.approx(there[0], abs=1e-3)
    fused = caller.call("FuseImages", fusing(transform=reference, accepted_flags=flags))
    assert array_of(fused.fused).shape == SIZE


@pytest.mark.parametrize("options", [{}, DEFORMABLE])
def test_the_inverse_comes_with_its_residual(caller: Caller, options: dict[str, Any]) -> None:
    """The inverse leads from the moving image back, is known by its id, and misses by no more than it says."""
    _, result = register(caller, **options)
    there, back = (transform_from_message(sent, "transform") for sent in (result.transform, result.inverse))
    assert (back.fixed_size, back.moving_size) == (there.moving_size, there.fixed_size)
    assert back.flags == there.flags
    y, x = np.mgrid[25:45:5, 30:60:5]
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    missed = np.linalg.norm(there.apply(back.apply(pixels)) - pixels, axis=1).max()
    assert missed <= result.inverse_residual_px + 1e-4
    assert result.inverse_residual_px < 0.1
    by_id = moving_points([MOVING_CENTRE], transform=pb.TransformReference(transform_id=result.inverse.transform_id))
    moved = caller.call("TransformPoints", by_id).points[0].values
    np.testing.assert_allclose(moved, back.apply([MOVING_CENTRE])[0], atol=1e-9)


@pytest.mark.parametrize(
    "model",
    [
        pb.TRANSFORM_MODEL_UNSPECIFIED,
        pb.TRANSFORM_MODEL_RIGID,
        pb.TRANSFORM_MODEL_SIMILARITY,
        pb.TRANSFORM_MODEL_AFFINE,
    ],
)
def test_a_model_keeps_what_it_promises(caller: Caller, model: Any) -> None:
    """RIGID keeps lengths, SIMILARITY angles; neither these nor AFFINE bend."""
    _, result = register(caller, transform_model=model)
    assert not result.transform.HasField("displacement_field")
    assert not result.HasField("deformation")
    linear = np.reshape(result.transform.pixel_matrix, (3, 3))[:2, :2]
    metric = linear.T @ linear
    if model in (pb.TRANSFORM_MODEL_RIGID, pb.TRANSFORM_MODEL_SIMILARITY):
        np.testing.assert_allclose(metric, metric[0, 0] * np.eye(2), atol=1e-9)


def test_what_is_known_is_taken(caller: Caller) -> None:
    """Landmarks, a start, a rigid region, stiffness and a measure are taken, and landmarks' errors reported."""
    x, y = FIXED_CENTRE
    landmark = pb.LandmarkPair(
        in_fixed=image_pb2.Point(x=x - 12, y=y + 3), in_moving=image_pb2.Point(x=x - 12 + SHIFT[0], y=y + 3 + SHIFT[1])
    )
    for measure in pb.SimilarityMeasure.values():
        _, result = register(
            caller,
            **DEFORMABLE,
            similarity_measure=measure,
            landmarks=[landmark],
            initial_transform=transform(),
            rigid_region=mask(organ(SIZE, FIXED_CENTRE)),
            stiffness=10.0,
        )
        assert len(result.landmark_errors_px) == 1
        assert result.landmark_errors_px[0] < 2


def test_callers_that_leave_leave_room(real_caller: Caller) -> None:
    """Cancelled registrations, many more than may run and wait, and one past its deadline, keep nobody out."""
    for _ in range(30):
        call = real_caller.call("RegisterImages", registering(**DEFORMABLE))
        next(call)
        call.cancel()
    with pytest.raises(grpc.RpcError) as late:
        list(real_caller.call("RegisterImages", registering(**DEFORMABLE), timeout=0.05))
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    _, result = register(real_caller, **DEFORMABLE)
    assert result.HasField("deformation")
