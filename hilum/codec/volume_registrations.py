"""Registrations of volumes: what is asked for, and the result."""

from __future__ import annotations

from dataclasses import dataclass

from hilum.codec.images import geometry_to_message
from hilum.codec.modality import modality_from_message, modality_to_message
from hilum.codec.registrations import (
    deformation_from_message,
    deformation_to_message,
    stages_from_message,
    stages_to_message,
)
from hilum.codec.transforms import transform_from_message, transform_to_message
from hilum.codec.volumes import IncomingVolume
from hilum.digest import DATA_TYPE_CODES
from hilum.errors import FrameNotSupported, InvalidField, LimitExceeded
from hilum.geometry import PatientFrame
from hilum.registration_options import TransformModel
from hilum.types import Volume
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2
from hilum.volume_registration import PlacedVolume, VolumeRegistrationOptions, VolumeRegistrationResult, check_volumes

FIELD = "registration"


@dataclass(frozen=True, eq=False)
class VolumeRegistrationRequest:
    """Two volumes to register and what is known.

    Attributes:
        fixed: What arrives first.
        moving: What arrives then.
        fixed_frame: Where the fixed volume's voxels lie.
        moving_frame: Where the moving volume's voxels lie.
        options: What is asked for and known.
        modalities: DICOM Modality of the fixed and of the moving volume, "" where not known.
    """

    fixed: IncomingVolume
    moving: IncomingVolume
    fixed_frame: PatientFrame
    moving_frame: PatientFrame
    options: VolumeRegistrationOptions
    modalities: tuple[str, str] = ("", "")

    @classmethod
    def from_message(cls, message: pb.VolumeRegistration, *, max_bytes: int) -> VolumeRegistrationRequest:
        """Returns the request.

        Raises:
            InvalidField: Something is missing or out of range.
            InvalidTensor: The initial transform's displacements are malformed.
            LimitExceeded: Both volumes together take more than max_bytes.
            FrameNotSupported: A volume does not lie in the patient.
        """
        fixed, fixed_frame = _described(message.fixed, f"{FIELD}.fixed", max_bytes)
        moving, moving_frame = _described(message.moving, f"{FIELD}.moving", max_bytes)
        check_volumes(PlacedVolume(fixed.shape, fixed_frame), PlacedVolume(moving.shape, moving_frame), FIELD)
        if fixed.nbytes + moving.nbytes > max_bytes:
            reason = f"both volumes take {fixed.nbytes + moving.nbytes} bytes; at most {max_bytes}"
            raise LimitExceeded(reason, field=f"{FIELD}.moving.shape")
        if message.transform_model not in pb.TransformModel.values():
            raise InvalidField("is not known here", field=f"{FIELD}.transform_model")
        initial = None
        if message.HasField("initial_transform"):
            initial = transform_from_message(message.initial_transform, f"{FIELD}.initial_transform")
        options = VolumeRegistrationOptions(
            TransformModel(message.transform_model or pb.TRANSFORM_MODEL_AFFINE),
            initial,
            message.stiffness if message.HasField("stiffness") else 1.0,
        )
        options.check(fixed.shape, moving.shape, field=f"{FIELD}.")
        modalities = (
            modality_from_message(message.fixed.modality, f"{FIELD}.fixed.modality"),
            modality_from_message(message.moving.modality, f"{FIELD}.moving.modality"),
        )
        return cls(fixed, moving, fixed_frame, moving_frame, options, modalities)


def registration_to_message(fixed: Volume, moving: Volume, options: VolumeRegistrationOptions) -> pb.VolumeRegistration:
    """Returns the first message of a request."""
    return pb.VolumeRegistration(
        fixed=_volume_to_message(fixed),
        moving=_volume_to_message(moving),
        transform_model=pb.TransformModel.ValueType(options.model.value),
        initial_transform=None if options.initial is None else transform_to_message(options.initial),
        stiffness=None if options.stiffness == 1.0 else options.stiffness,
    )


def volume_result_to_message(result: VolumeRegistrationResult) -> pb.VolumeRegistrationResult:
    """Returns the message for a result."""
    return pb.VolumeRegistrationResult(
        transform=transform_to_message(result.transform),
        inverse=transform_to_message(result.inverse),
        stages=stages_to_message(result.stages),
        similarity_before=result.similarity_before,
        similarity_after=result.similarity_after,
        overlap_fraction=result.overlap_fraction,
        distinctness=result.distinctness,
        inverse_residual_mm=result.inverse_residual_mm,
        deformation=deformation_to_message(result.deformation),
        total_ms=result.total_ms,
    )


def volume_result_from_message(message: pb.VolumeRegistrationResult) -> VolumeRegistrationResult:
    """Returns the result; InvalidField or InvalidTensor for what a sound service never sends."""
    return VolumeRegistrationResult(
        transform=transform_from_message(message.transform, "transform"),
        inverse=transform_from_message(message.inverse, "inverse"),
        stages=stages_from_message(message.stages),
        similarity_before=message.similarity_before,
        similarity_after=message.similarity_after,
        overlap_fraction=message.overlap_fraction,
        distinctness=message.distinctness,
        inverse_residual_mm=message.inverse_residual_mm,
        deformation=deformation_from_message(message.deformation) if message.HasField("deformation") else None,
        total_ms=message.total_ms,
    )


def _volume_to_message(volume: Volume) -> pb.FusionVolume:
    return pb.FusionVolume(
        shape=volume.voxels.shape,
        data_type=image_pb2.DataType.ValueType(DATA_TYPE_CODES[volume.voxels.dtype.name]),
        geometry=geometry_to_message(volume.geometry),
        padding_value=volume.padding_value,
        modality=modality_to_message(volume.source),
    )


def _described(message: pb.FusionVolume, field: str, max_bytes: int) -> tuple[IncomingVolume, PatientFrame]:
    volume = IncomingVolume.described(message, field, max_bytes=max_bytes)
    if not isinstance(volume.geometry.frame, PatientFrame):
        raise FrameNotSupported("volumes are registered in PATIENT_LPS", field=f"{field}.geometry")
    return volume, volume.geometry.frame
