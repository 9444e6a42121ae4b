"""Results of registrations."""

from __future__ import annotations

from collections.abc import Iterable

from hilum.codec.masks import mask_from_message, mask_to_message
from hilum.codec.transforms import transform_from_message, transform_to_message
from hilum.types import (
    BoolMask,
    DeformationReport,
    Registration,
    RegistrationProgress,
    StageReport,
    TargetReport,
)
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2

_MAX_PIXELS = 1 << 28


def progress_to_message(progress: RegistrationProgress) -> pb.RegistrationProgress:
    """Returns the message for a step."""
    return pb.RegistrationProgress(stage=progress.stage, fraction=progress.fraction, similarity=progress.similarity)


def registration_to_message(registration: Registration) -> pb.RegistrationResult:
    """Returns the message for a result."""
    return pb.RegistrationResult(
        transform=transform_to_message(registration.transform),
        match_loss_before=registration.match_loss_before,
        match_loss_after=registration.match_loss_after,
        overlap_fraction=registration.overlap_fraction,
        stages=stages_to_message(registration.stages),
        targets=[
            pb.TargetReport(
                dice_before=target.dice_before,
                dice_after=target.dice_after,
                mask_fixed=mask_to_message(target.mask_fixed),
                mask_moving=mask_to_message(target.mask_moving),
            )
            for target in registration.targets
        ],
        total_ms=registration.total_ms,
        inverse=transform_to_message(registration.inverse),
        inverse_residual_px=registration.inverse_residual_px,
        deformation=deformation_to_message(registration.deformation),
        landmark_errors_px=registration.landmark_errors_px,
        distinctness=registration.distinctness,
    )


def registration_from_message(message: pb.RegistrationResult) -> Registration:
    """Returns the result; InvalidField or InvalidTensor for what a sound service never sends."""
    return Registration(
        transform=transform_from_message(message.transform, "transform"),
        match_loss_before=message.match_loss_before,
        match_loss_after=message.match_loss_after,
        overlap_fraction=message.overlap_fraction,
        stages=stages_from_message(message.stages),
        targets=tuple(
            TargetReport(
                target.dice_before,
                target.dice_after,
                _mask(target.mask_fixed, f"targets[{index}].mask_fixed"),
                _mask(target.mask_moving, f"targets[{index}].mask_moving"),
            )
            for index, target in enumerate(message.targets)
        ),
        total_ms=message.total_ms,
        inverse=transform_from_message(message.inverse, "inverse"),
        inverse_residual_px=message.inverse_residual_px,
        deformation=deformation_from_message(message.deformation) if message.HasField("deformation") else None,
        landmark_errors_px=tuple(message.landmark_errors_px),
        distinctness=message.distinctness,
    )


def stages_to_message(stages: Iterable[StageReport]) -> list[pb.StageReport]:
    """Returns the messages for reports of stages."""
    return [
        pb.StageReport(
            stage=stage.stage,
            accepted=stage.accepted,
            similarity_before=stage.similarity_before,
            similarity_after=stage.similarity_after,
        )
        for stage in stages
    ]


def stages_from_message(messages: Iterable[pb.StageReport]) -> tuple[StageReport, ...]:
    """Returns the reports."""
    return tuple(
        StageReport(stage.stage, stage.accepted, stage.similarity_before, stage.similarity_after) for stage in messages
    )


def deformation_to_message(report: DeformationReport | None) -> pb.DeformationReport | None:
    """Returns the message for a report, None for None."""
    if report is None:
        return None
    return pb.DeformationReport(
        folding_fraction=report.folding_fraction,
        least_jacobian=report.least_jacobian,
        largest_jacobian=report.largest_jacobian,
        bending_energy=report.bending_energy,
    )


def deformation_from_message(message: pb.DeformationReport) -> DeformationReport:
    """Returns the report."""
    return DeformationReport(
        message.folding_fraction, message.least_jacobian, message.largest_jacobian, message.bending_energy
    )


def _mask(message: image_pb2.Mask, field: str) -> BoolMask:
    return mask_from_message(message, field, size=None, max_pixels=_MAX_PIXELS)
