"""What a pose is estimated from, and the pose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hilum.codec.images import geometry_from_message, geometry_to_message
from hilum.codec.tensors import image_pixels_from_message, tensor_to_message
from hilum.codec.volumes import IncomingVolume
from hilum.digest import DATA_TYPE_CODES
from hilum.errors import FrameNotSupported, InvalidField
from hilum.geometry import Float, ImageGeometry, PatientFrame, Vector3
from hilum.pose import (
    MOST_VIEWS,
    Beam,
    ConeBeam,
    EstimatedPose,
    ParallelBeam,
    Radiograph,
    UnseenMotion,
    ViewAgreement,
    check_pose,
)
from hilum.types import Volume
from hilum.v1 import image_pb2, pose_pb2

_FLAG_PREFIX = "POSE_FLAG_"
FLAG_NAMES = frozenset(
    name.removeprefix(_FLAG_PREFIX)
    for name in pose_pb2.PoseFlag.keys()  # noqa: SIM118 - an enum wrapper, not a dict
) - {"UNSPECIFIED"}


@dataclass(frozen=True, eq=False)
class PoseRequest:
    """What a pose is estimated from.

    Attributes:
        volume: What arrives.
        frame: Where its voxels lie.
        radiographs: One or two.
        initial: 4 x 4, rigid: mm of the volume's LPS to mm of the room.
    """

    volume: IncomingVolume
    frame: PatientFrame
    radiographs: tuple[Radiograph, ...]
    initial: Float

    @classmethod
    def from_message(cls, message: pose_pb2.PoseEstimation, *, max_bytes: int, max_image_pixels: int) -> PoseRequest:
        """Returns the request.

        Raises:
            InvalidField: Something is missing or out of range.
            InvalidTensor: A radiograph's pixels are malformed.
            LimitExceeded: Volume or radiographs are too large.
            FrameNotSupported: The volume does not lie in the patient.
        """
        volume = IncomingVolume.described(message, "estimation", max_bytes=max_bytes)
        frame = volume.geometry.frame
        if not isinstance(frame, PatientFrame):
            raise FrameNotSupported("a pose needs the volume in PATIENT_LPS", field="estimation.geometry")
        if not 1 <= len(message.radiographs) <= MOST_VIEWS:
            raise InvalidField(f"needs one or two, has {len(message.radiographs)}", field="estimation.radiographs")
        radiographs = tuple(
            radiograph_from_message(radiograph, f"estimation.radiographs[{index}]", max_pixels=max_image_pixels)
            for index, radiograph in enumerate(message.radiographs)
        )
        initial = np.eye(4)
        if message.initial_pose:
            if len(message.initial_pose) != initial.size:
                raise InvalidField("needs sixteen numbers, or none", field="estimation.initial_pose")
            initial = np.array(message.initial_pose, np.float64).reshape(4, 4)
        check_pose(initial, "estimation.initial_pose")
        return cls(volume, frame, radiographs, initial)


def estimation_to_message(
    volume: Volume, radiographs: Sequence[Radiograph], initial: Float | None
) -> pose_pb2.PoseEstimation:
    """Returns the first message of a request."""
    return pose_pb2.PoseEstimation(
        shape=volume.voxels.shape,
        data_type=image_pb2.DataType.ValueType(DATA_TYPE_CODES[volume.voxels.dtype.name]),
        geometry=geometry_to_message(volume.geometry),
        padding_value=volume.padding_value,
        radiographs=[_radiograph_to_message(radiograph) for radiograph in radiographs],
        initial_pose=() if initial is None else np.asarray(initial, np.float64).ravel().tolist(),
    )


def pose_to_message(pose: EstimatedPose) -> pose_pb2.EstimatedPose:
    """Returns the message for a pose."""
    return pose_pb2.EstimatedPose(
        patient_to_room=pose.patient_to_room.ravel().tolist(),
        views=[pose_pb2.ViewAgreement(similarity=view.similarity, coverage=view.coverage) for view in pose.views],
        unseen_motions=[
            pose_pb2.UnseenMotion(
                rotation_deg=unseen.rotation_deg,
                translation_mm=unseen.translation_mm,
                standard_error_mm=unseen.standard_error_mm,
            )
            for unseen in pose.unseen
        ],
        flags=[pose_pb2.PoseFlag.Value(f"{_FLAG_PREFIX}{name}") for name in pose.flags],
        algorithm=pose.algorithm,
        total_ms=pose.total_ms,
    )


def pose_from_message(message: pose_pb2.EstimatedPose) -> EstimatedPose:
    """Returns the pose; InvalidField for what a sound service never sends."""
    if len(message.patient_to_room) != 16:
        raise InvalidField("needs sixteen numbers", field="pose.patient_to_room")
    matrix = np.array(message.patient_to_room, np.float64).reshape(4, 4)
    check_pose(matrix, "pose.patient_to_room")
    return EstimatedPose(
        patient_to_room=matrix,
        views=tuple(ViewAgreement(view.similarity, view.coverage) for view in message.views),
        unseen=tuple(
            UnseenMotion(
                _vector(unseen.rotation_deg, f"pose.unseen_motions[{index}].rotation_deg"),
                _vector(unseen.translation_mm, f"pose.unseen_motions[{index}].translation_mm"),
                unseen.standard_error_mm if unseen.HasField("standard_error_mm") else None,
            )
            for index, unseen in enumerate(message.unseen_motions)
        ),
        flags=tuple(sorted(_flag_name(flag) for flag in message.flags)),
        algorithm=message.algorithm,
        total_ms=message.total_ms,
    )


def _flag_name(flag: pose_pb2.PoseFlag.ValueType) -> str:
    """A flag's name without its prefix, "UNKNOWN" for one of a newer contract."""
    if flag not in pose_pb2.PoseFlag.values():
        return "UNKNOWN"
    return pose_pb2.PoseFlag.Name(flag).removeprefix(_FLAG_PREFIX)


def _radiograph_to_message(radiograph: Radiograph) -> pose_pb2.PlacedRadiograph:
    beam = radiograph.beam
    cone = pose_pb2.ConeBeam(source_mm=beam.source_mm) if isinstance(beam, ConeBeam) else None
    parallel = pose_pb2.ParallelBeam(direction=beam.direction) if isinstance(beam, ParallelBeam) else None
    return pose_pb2.PlacedRadiograph(
        pixels=tensor_to_message(np.asarray(radiograph.pixels)),
        detector=geometry_to_message(ImageGeometry(radiograph.detector)).patient_lps,
        cone=cone,
        parallel=parallel,
        padding_value=radiograph.padding_value,
    )


def radiograph_from_message(message: pose_pb2.PlacedRadiograph, field: str, *, max_pixels: int) -> Radiograph:
    """Returns a radiograph.

    Raises:
        InvalidField: Detector or beam are missing or impossible.
        InvalidTensor: The pixels are malformed.
        LimitExceeded: More than max_pixels.
    """
    pixels = image_pixels_from_message(message.pixels, f"{field}.pixels", max_pixels=max_pixels, colour=False)
    geometry = geometry_from_message(image_pb2.ImageGeometry(patient_lps=message.detector), f"{field}.detector")
    if not isinstance(geometry.frame, PatientFrame):
        raise InvalidField("is required, with two spacings above 0", field=f"{field}.detector")
    padding = message.padding_value if message.HasField("padding_value") else None
    if padding is not None and not math.isfinite(padding):
        raise InvalidField("must be finite", field=f"{field}.padding_value")
    radiograph = Radiograph(pixels, geometry.frame, _beam(message, field), padding)
    radiograph.check(field)
    return radiograph


def _beam(message: pose_pb2.PlacedRadiograph, field: str) -> Beam:
    match message.WhichOneof("beam"):
        case "cone":
            return ConeBeam(_vector(message.cone.source_mm, f"{field}.cone.source_mm"))
        case "parallel":
            return ParallelBeam(_vector(message.parallel.direction, f"{field}.parallel.direction"))
        case _:
            raise InvalidField("needs a cone or a parallel beam", field=f"{field}.beam")


def _vector(numbers: Iterable[float], field: str) -> Vector3:
    values = [float(number) for number in numbers]
    if len(values) != 3 or not all(math.isfinite(value) for value in values):
        raise InvalidField("needs three finite numbers", field=field)
    return values[0], values[1], values[2]
