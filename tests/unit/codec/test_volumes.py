"""Volumes that arrive in pieces."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.codec.volumes import VolumeRequest
from hilum.errors import InvalidTensor, LimitExceeded
from hilum.geometry import PatientFrame, pixel_to_patient
from hilum.types import ProjectionAxis
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2

SHAPE = (3, 4, 5)
OBLIQUE = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
FRAME = image_pb2.PatientLps(
    origin_mm=[10, -20, 30],
    direction=OBLIQUE.ravel().tolist(),
    spacing_mm=[0.5, 0.75, 2.0],
    frame_of_reference_uid="1.2",
)


def _request(**fields: Any) -> VolumeRequest:
    known: dict[str, Any] = {
        "shape": SHAPE,
        "data_type": image_pb2.DATA_TYPE_INT16,
        "axis": pb.PROJECTION_AXIS_DEPTH,
        "method": pb.PROJECTION_METHOD_MEAN,
    }
    message = pb.VolumeProjection(**known | fields)
    return VolumeRequest.from_message(message, max_bytes=1000, max_image_pixels=100)


async def _pieces(data: bytes, cuts: list[int]) -> AsyncIterator[pb.ProjectVolumeRequest]:
    edges = [0, *sorted(cuts), len(data)]
    for begin, end in itertools.pairwise(edges):
        yield pb.ProjectVolumeRequest(voxels=data[begin:end])


@given(st.lists(st.integers(0, 120), max_size=9))
async def test_pieces_of_any_length(cuts: list[int]) -> None:
    """However the bytes are cut, also within a voxel and with empty pieces, the volume is the same."""
    voxels = np.arange(60, dtype="<i2").reshape(SHAPE)
    received = await _request().volume.receive(_pieces(voxels.tobytes(), cuts), "projection")
    assert received.dtype == np.int16
    assert np.array_equal(received, voxels)


@pytest.mark.parametrize("length", [0, 119, 121, 240])
async def test_another_length_is_refused(length: int) -> None:
    """Fewer or more bytes than the shape takes are refused, the latter as soon as they arrive."""
    with pytest.raises(InvalidTensor, match="120"):
        await _request().volume.receive(_pieces(bytes(length), [40, 80]), "projection")


def test_bounds() -> None:
    """The volume's bytes and the projection's pixels are bounded before anything is received."""
    for shape in ((1, 25, 21), (101, 1, 1), (2**32 - 1,) * 3):
        with pytest.raises(LimitExceeded) as caught:
            _request(shape=shape, axis=pb.PROJECTION_AXIS_HEIGHT)
        assert caught.value.field == "projection.shape"


@pytest.mark.parametrize("axis", ProjectionAxis)
@pytest.mark.parametrize("slab", [None, (1, 3)])
def test_the_projection_lies_in_the_patient(axis: ProjectionAxis, slab: tuple[int, int] | None) -> None:
    """Every pixel of the picture lies at the mean place of the voxels that it projects, also of an oblique volume."""
    request = _request(
        geometry=image_pb2.ImageGeometry(patient_lps=FRAME),
        axis=axis.value,
        slab=pb.IndexRange(begin=slab[0], end=slab[1]) if slab else None,
    )
    volume, picture = request.volume.geometry.frame, request.projected_geometry().frame
    assert isinstance(volume, PatientFrame)
    assert isinstance(picture, PatientFrame)
    along = {ProjectionAxis.DEPTH: 2, ProjectionAxis.HEIGHT: 1, ProjectionAxis.WIDTH: 0}[axis]
    first, second = (index for index in range(3) if index != along)
    begin, end = slab or (0, SHAPE[2 - along])
    for x, y in ((0, 0), (1, 0), (0, 2), (2, 1)):
        rays = np.zeros((end - begin, 3))
        rays[:, along], rays[:, first], rays[:, second] = np.arange(begin, end), x, y
        np.testing.assert_allclose(
            pixel_to_patient(picture, [[x, y]])[0], pixel_to_patient(volume, rays).mean(axis=0), atol=1e-9
        )
    assert picture.spacing_mm[2] == pytest.approx(volume.spacing_mm[along] * (end - begin))
    assert picture.frame_of_reference_uid == "1.2"
    height, width = (count for index, count in enumerate(SHAPE) if index != 2 - along)
    assert request.projected_size == (height, width)
