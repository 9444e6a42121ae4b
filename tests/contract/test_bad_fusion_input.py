"""Nothing that a caller sends brings the fusion service down, or out of its contract."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hilum.v1 import fusion_service_pb2 as pb
from tests.contract.fusing import (
    FIXED,
    FIXED_CENTRE,
    MOVING,
    MOVING_CENTRE,
    MOVING_SIZE,
    SIZE,
    by_value,
    fusing,
    image,
    mask,
    moving_points,
    organ,
    pair,
    patient,
    projecting,
    registering,
    resampling,
)
from tests.contract.messages import array_of, box, mask_of, tensor
from tests.contract.mutations import EXAMPLES, answer, mutated
from tests.contract.refusals import Refusal
from tests.contract.wiring import Caller

# Registrations take their time.
FEW_EXAMPLES = settings(EXAMPLES, max_examples=12)
FLAGS = [flag for flag in pb.TransformFlag.values() if flag]
GEOMETRY: dict[str, Any] = {"geometry": patient(), "padding_value": -2000.0}


@pytest.fixture(autouse=True)
def _alive_afterwards(real_caller: Caller) -> Iterator[None]:
    """Whatever a test sent, the service then fuses as before."""
    yield
    assert array_of(real_caller.call("FuseImages", fusing()).fused).shape == SIZE


def register(caller: Caller, request: pb.RegisterImagesRequest) -> Any:
    """Returns the result, or how it was refused."""
    return answer(lambda: list(caller.call("RegisterImages", request))[-1].result)


def test_fusions_gone_wrong(real_caller: Caller) -> None:
    """Any change to a request to fuse is answered, on the fixed grid, or refused by the contract."""
    valid = fusing(
        fixed=image(FIXED, **GEOMETRY),
        transform=by_value(fixed_geometry=patient(), flags=FLAGS),
        accepted_flags=FLAGS,
        target=mask(organ(SIZE, FIXED_CENTRE)),
        gradient_fidelity=1.0,
    )

    @EXAMPLES
    @given(request=mutated(lambda: valid))
    def check(request: pb.FuseImagesRequest) -> None:
        response = answer(lambda: real_caller.call("FuseImages", request))
        if not isinstance(response, Refusal):
            size = tuple(request.fixed.pixels.shape)
            assert {array_of(picture).shape for picture in (response.fixed, response.moving)} == {size}
            assert array_of(response.fused).shape in {size, (*size, 3), (2, *size)}
            assert mask_of(response.moving_coverage).shape == size

    check()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (5, 400)])
@pytest.mark.parametrize("flags", [[], FLAGS])
def test_images_of_any_size_are_fused(real_caller: Caller, size: tuple[int, int], flags: list[Any]) -> None:
    """Down to a single pixel, images are fused and flags find their place."""
    pixels = np.arange(size[0] * size[1]).reshape(size).astype(np.int16)
    same = {"height_px": size[0], "width_px": size[1]}
    transform = by_value(pixel_matrix=[1, 0, 0, 0, 1, 0, 0, 0, 1], fixed_size=same, moving_size=same, flags=flags)
    request = fusing(fixed=image(pixels), moving=image(pixels), transform=transform, accepted_flags=FLAGS, levels=6)
    assert array_of(real_caller.call("FuseImages", request).fused).shape == size


def test_resamplings_gone_wrong(real_caller: Caller) -> None:
    """Any change to a request to resample is answered, with finite values, or refused by the contract."""
    valid = resampling(moving=image(MOVING.astype(np.float32), **GEOMETRY), background_value=3.0)

    @EXAMPLES
    @given(request=mutated(lambda: valid))
    def check(request: pb.ResampleImageRequest) -> None:
        response = answer(lambda: real_caller.call("ResampleImage", request))
        if not isinstance(response, Refusal):
            assert np.isfinite(array_of(response.image)).all()
            assert array_of(response.image).shape == mask_of(response.coverage).shape

    check()


@EXAMPLES
@given(elements=st.lists(st.floats(-1e9, 1e9) | st.floats(-2, 2), min_size=6, max_size=6))
def test_any_affine_matrix_resamples(real_caller: Caller, elements: list[float]) -> None:
    """Every matrix that may be sent gives finite values or is refused."""
    request = resampling(transform=by_value(pixel_matrix=[*elements, 0, 0, 1]))
    response = answer(lambda: real_caller.call("ResampleImage", request))
    if not isinstance(response, Refusal):
        assert array_of(response.image).shape == SIZE


@pytest.mark.parametrize("unit", [pb.POINT_UNIT_PX, pb.POINT_UNIT_PLANE_MM, pb.POINT_UNIT_PATIENT_LPS_MM])
def test_points_gone_wrong(real_caller: Caller, unit: Any) -> None:
    """Any change to a request to transform points is answered, point for point, or refused by the contract."""
    points = [(1, 2, 0)] * 3 if unit == pb.POINT_UNIT_PATIENT_LPS_MM else [(1, 2)] * 3
    planes = by_value(fixed_geometry=patient(), moving_geometry=patient())
    valid = moving_points(points, unit=unit, transform=planes)

    @EXAMPLES
    @given(request=mutated(lambda: valid))
    def check(request: pb.TransformPointsRequest) -> None:
        response = answer(lambda: real_caller.call("TransformPoints", request))
        if not isinstance(response, Refusal):
            assert len(response.points) == len(request.points)

    check()


def test_volumes_gone_wrong(real_caller: Caller) -> None:
    """Any change to any message of a volume's stream is answered, with finite values, or refused by the contract."""
    voxels = np.arange(60).reshape(3, 4, 5).astype(np.float32)
    fields: dict[str, Any] = {"geometry": patient(), "padding_value": 7.0, "slab": pb.IndexRange(begin=0, end=2)}
    valid = list(projecting(voxels, chunk_bytes=100, **fields))

    @EXAMPLES
    @given(data=st.data(), index=st.integers(0, len(valid) - 1))
    def check(data: st.DataObject, index: int) -> None:
        messages = [*valid[:index], data.draw(mutated(lambda: valid[index])), *valid[index + 1 :]]
        response = answer(lambda: real_caller.call("ProjectVolume", iter(messages)))
        if not isinstance(response, Refusal):
            assert np.isfinite(array_of(response.image)).all()

    check()


def test_registrations_gone_wrong(real_caller: Caller) -> None:
    """Any change to a request to register is answered with a transform, or refused by the contract."""
    outlines = pair(organ(SIZE, FIXED_CENTRE), organ(MOVING_SIZE, MOVING_CENTRE))
    prompts = pair(box(20, 22, 38, 44), box(26, 18, 44, 40))
    valid = registering(fixed=image(FIXED, **GEOMETRY), targets=[outlines, prompts])

    @FEW_EXAMPLES
    @given(request=mutated(lambda: valid))
    def check(request: pb.RegisterImagesRequest) -> None:
        result = register(real_caller, request)
        if not isinstance(result, Refusal):
            assert np.isfinite(result.transform.pixel_matrix).all()
            assert len(result.targets) == len(request.targets)

    check()


EXTREMES: dict[str, NDArray[Any]] = {
    "one pixel": np.array([[1, 2]], np.int16),
    "a row": np.arange(300, dtype=np.int16)[None],
    "a column": np.arange(300, dtype=np.int16)[:, None],
    "noise": np.random.default_rng(0).normal(0, 1, (40, 50)).astype(np.float32),
    "one bright pixel": np.where(np.arange(900).reshape(30, 30) == 450, 1000, 0).astype(np.int16),
    "largest floats": np.where(np.arange(900).reshape(30, 30) % 2, 3e38, -3e38).astype(np.float32),
    "smallest floats": np.where(np.arange(900).reshape(30, 30) % 2, 1e-45, 0).astype(np.float32),
}


@pytest.mark.parametrize("spacing", [None, (1e-6, 1e3, 1.0)])
@pytest.mark.parametrize("name", EXTREMES)
def test_images_hard_to_register(real_caller: Caller, name: str, spacing: tuple[float, float, float] | None) -> None:
    """Images without a body, of odd sizes and values and spacings, give a transform with doubts, or are refused."""
    geometry: dict[str, Any] = {"geometry": patient(spacing=spacing)} if spacing else {}
    request = registering(fixed=image(EXTREMES[name], **geometry))
    result = register(real_caller, request)
    if not isinstance(result, Refusal):
        assert np.isfinite(result.transform.pixel_matrix).all()
        assert result.transform.flags


def test_any_bytes_are_pixels(real_caller: Caller) -> None:
    """Images of random bytes, as every data type, are resampled unless they hold no numbers."""

    @EXAMPLES
    @given(data=st.binary(min_size=64, max_size=64), dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]))
    def check(data: bytes, dtype: str) -> None:
        pixels = np.frombuffer(data, dtype).reshape(4, -1)
        same = {"height_px": 4, "width_px": pixels.shape[1]}
        transform = by_value(pixel_matrix=[1, 0, 0.5, 0, 1, 0.5, 0, 0, 1], fixed_size=same, moving_size=same)
        request = resampling(moving=pb.FusionImage(pixels=tensor(pixels)), transform=transform)
        response = answer(lambda: real_caller.call("ResampleImage", request))
        assert isinstance(response, Refusal) == (not np.isfinite(pixels).all())

    check()
