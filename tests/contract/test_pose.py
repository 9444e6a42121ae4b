"""EstimatePose: the fake and the service."""

from typing import Any

import numpy as np
import pytest

from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2, pose_pb2
from tests.contract.fusing import patient
from tests.contract.messages import tensor
from tests.contract.posing import SIDE, VOXELS, posing, view
from tests.contract.refusals import Case, refused
from tests.contract.wiring import Caller

FIELD, TENSOR, LIMIT = "INVALID_FIELD", "INVALID_TENSOR", "LIMIT_EXCEEDED"
NAN = float("nan")


def estimated(caller: Caller, **fields: Any) -> tuple[list[pb.RegistrationProgress], pose_pb2.EstimatedPose]:
    """Returns the progress and the pose."""
    *progress, last = list(caller.call("EstimatePose", posing(**fields)))
    assert last.WhichOneof("event") == "pose"
    assert all(event.WhichOneof("event") == "progress" for event in progress)
    return [event.progress for event in progress], last.pose


def test_two_views(caller: Caller) -> None:
    """From the true pose on, two views keep it; progress comes first, and every view has its agreement."""
    progress, pose = estimated(caller)
    assert progress
    assert all(0 <= step.fraction <= 1 and step.stage for step in progress)
    matrix = np.reshape(pose.patient_to_room, (4, 4))
    np.testing.assert_allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3), atol=1e-6)
    corners = np.array([[x, y, z, 1] for x in (40, 170) for y in (40, 170) for z in (40, 170)])
    assert np.abs(corners @ matrix.T - corners).max() < 3
    assert len(pose.views) == 2
    assert all(view.similarity > 0.8 and view.coverage > 0.9 for view in pose.views)
    assert not pose.flags
    assert not pose.unseen_motions
    assert pose.algorithm


@pytest.mark.parametrize("cone", [False, True])
def test_one_view_does_not_show_depth(caller: Caller, cone: bool) -> None:
    """Depth keeps its initial value, is flagged, and named; under parallel rays nothing is known of it."""
    beam = {"cone": pose_pb2.ConeBeam(source_mm=(105, -5000, 105))} if cone else {}
    shift = np.eye(4)
    shift[1, 3] = 7
    _, pose = estimated(caller, radiographs=[view(1, **beam)], initial_pose=shift.ravel())
    assert pose_pb2.POSE_FLAG_DEPTH_UNOBSERVED in pose.flags
    middle = np.reshape(pose.patient_to_room, (4, 4)) @ (105, 105, 105, 1)
    assert abs(middle[1] - 112) < 2
    depth = max(pose.unseen_motions, key=lambda unseen: abs(unseen.translation_mm[1]))
    assert abs(depth.translation_mm[1]) > 0.9
    if not cone:
        assert not depth.HasField("standard_error_mm")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_voxels_of_any_type_arrive(caller: Caller, dtype: str) -> None:
    """All four data types are taken, however the stream cuts them, and padding counts as air."""
    voxels = np.full((SIDE,) * 3, 0 if dtype[0] == "u" else -1000, dtype)
    voxels[9:27, 9:27, 9:27] = 200
    _, pose = estimated(caller, voxels=voxels, chunk_bytes=50_001, padding_value=0 if dtype[0] == "u" else None)
    assert len(pose.patient_to_room) == 16


def _case(name: str, reason: str, field: str = "", **fields: Any) -> Case:
    return Case(name, "EstimatePose", lambda _: posing(**fields), reason, field)


def _view(name: str, reason: str, field: str, **fields: Any) -> Case:
    return _case(name, reason, f"estimation.radiographs[1].{field}", radiographs=[view(1), view(2, **fields)])


def _stream(name: str, reason: str, field: str, *contents: bytes | None) -> Case:
    """Voxels, or None for the first message."""

    def messages(_: Caller) -> Any:
        first = next(posing())
        return iter([first if data is None else pb.EstimatePoseRequest(voxels=data) for data in contents])

    return Case(name, "EstimatePose", messages, reason, field)


def _plane(**fields: Any) -> image_pb2.PatientLps:
    detector = image_pb2.PatientLps()
    detector.CopyFrom(view(2).detector)
    for name, values in fields.items():
        del getattr(detector, name)[:]
        getattr(detector, name).extend(values)
    return detector


_BYTES = VOXELS.nbytes
REFUSALS = [
    _stream("nothing", FIELD, "estimation"),
    _stream("voxels first", FIELD, "estimation", bytes(100)),
    _stream("described twice", FIELD, "estimation", None, None),
    _stream("too few bytes", TENSOR, "voxels", None, bytes(_BYTES - 1)),
    _stream("too many bytes", TENSOR, "voxels", None, bytes(_BYTES), bytes(1)),
    _case("two axes", FIELD, "estimation.shape", shape=(4, 5)),
    _case("huge", LIMIT, "estimation.shape", shape=(2**32 - 1,) * 3),
    _case("one slice", FIELD, "estimation.shape", voxels=VOXELS[:1]),
    _case("type unspecified", FIELD, "estimation.data_type", data_type=0),
    _case("padding NaN", FIELD, "estimation.padding_value", padding_value=NAN),
    _case("no place", "FRAME_NOT_SUPPORTED", geometry=None),
    _case("flat voxels", FIELD, "estimation.geometry.patient_lps.spacing_mm", geometry=patient(spacing=(1, 1, 0))),
    _case("no radiograph", FIELD, "estimation.radiographs", radiographs=[]),
    _case("three radiographs", FIELD, "estimation.radiographs", radiographs=[view(1)] * 3),
    _case("pose of nine", FIELD, "estimation.initial_pose", initial_pose=np.eye(3).ravel()),
    _case("pose mirrored", FIELD, "estimation.initial_pose", initial_pose=np.diag([1, 1, -1, 1]).ravel()),
    _case("pose scaled", FIELD, "estimation.initial_pose", initial_pose=np.diag([2, 2, 2, 1]).ravel()),
    _case("pose NaN", FIELD, "estimation.initial_pose", initial_pose=np.full(16, NAN)),
    _case("pose far away", FIELD, "estimation.initial_pose", initial_pose=(np.eye(4) + np.eye(4, k=3) * 1e9).ravel()),
    _case("air", "NO_CONTENT", voxels=np.full((SIDE,) * 3, -1000, np.int16)),
    _case("all padding", "NO_CONTENT", voxels=np.full((SIDE,) * 3, 9, np.int16), padding_value=9),
    _view("no pixels", TENSOR, "pixels", pixels=None),
    _view("colour", TENSOR, "pixels", pixels=tensor(np.zeros((20, 20, 3), np.uint8))),
    _view("NaN", TENSOR, "pixels", pixels=tensor(np.full((20, 20), np.nan, np.float32))),
    _view("too large", LIMIT, "pixels", pixels=tensor(np.zeros((1001, 1000), np.uint8))),
    _view("too small", FIELD, "pixels", pixels=tensor(np.zeros((15, 20), np.uint8))),
    _view("view's padding NaN", FIELD, "padding_value", padding_value=NAN),
    _view("no detector", FIELD, "detector", detector=None),
    _view("detector skewed", FIELD, "detector.patient_lps", detector=_plane(direction=(1,) * 9)),
    _view("detector far away", FIELD, "detector", detector=_plane(origin_mm=(1e9, 0, 0))),
    _view("wide pixels", FIELD, "detector", detector=_plane(spacing_mm=(1e6, 1e6, 0))),
    _view("no beam", FIELD, "beam", parallel=None),
    _view("no direction", FIELD, "beam", parallel=pose_pb2.ParallelBeam(direction=(0, 0, 0))),
    _view("grazing", FIELD, "beam", parallel=pose_pb2.ParallelBeam(direction=(0, 1, 0))),
    _view("two numbers", FIELD, "cone.source_mm", cone=pose_pb2.ConeBeam(source_mm=(1, 2))),
    _view("source in the plane", FIELD, "beam", cone=pose_pb2.ConeBeam(source_mm=(400, 0, -2000))),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_refusals(caller: Caller, case: Case) -> None:
    """Every bad request is refused with the reason and the field path that the contract promises."""
    refusal = refused(lambda: list(caller.call(case.method, case.request(caller))))
    assert (refusal.reason, refusal.field) == (case.reason, case.field)


EXTREMES: dict[str, dict[str, Any]] = {
    "bright volume": {"voxels": np.where(VOXELS > 0, 3e38, -3e38).astype(np.float32)},
    "constant radiographs": {"radiographs": [view(1, pixels=tensor(np.full((20, 20), 5, np.uint8)))]},
    "largest radiographs": {
        "radiographs": [view(1, pixels=tensor(np.where(np.arange(400).reshape(20, 20) % 2, 3e38, -3e38).astype("f4")))]
    },
    "one bright pixel": {
        "radiographs": [view(2, pixels=tensor((np.arange(900).reshape(30, 30) == 450).astype(np.uint8)))]
    },
    "all padding": {"radiographs": [view(1, padding_value=5.0, pixels=tensor(np.full((20, 20), 5, np.uint8)))]},
    "looking away": {
        "radiographs": [view(1, detector=_plane(origin_mm=(9000, 0, 0), direction=(1, 0, 0, 0, 0, 1, 0, -1, 0)))]
    },
    "the same view twice": {"radiographs": [view(1), view(1)]},
}


@pytest.mark.parametrize("name", EXTREMES)
def test_pictures_hard_to_place(real_caller: Caller, name: str) -> None:
    """What can hardly be placed gives a pose with doubts, of finite numbers, never a failure."""
    _, pose = estimated(real_caller, **EXTREMES[name])
    assert np.isfinite(pose.patient_to_room).all()
    assert pose.flags
