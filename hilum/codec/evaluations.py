"""Evaluations of registrations: what is asked, and what is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hilum.codec.fusion import MAX_TARGETS
from hilum.codec.masks import mask_from_message, mask_to_message
from hilum.codec.registration_options import landmark_from_message, landmark_to_message
from hilum.codec.transforms import flag_name, flags_to_message, reference_to_message
from hilum.errors import InvalidField, LimitExceeded, NoContent
from hilum.evaluation import LandmarkErrors, RegistrationEvaluation, TargetEvaluation
from hilum.registration_options import MAX_LANDMARKS, LandmarkPair, check_landmark
from hilum.transform import Transform
from hilum.types import BoolMask
from hilum.v1 import fusion_service_pb2 as pb

_SIDES = ("in_fixed", "in_moving")
_UNITS = {"mm": pb.LENGTH_UNIT_MM, "px": pb.LENGTH_UNIT_PX}


@dataclass(frozen=True, eq=False)
class KnownPlaces:
    """What is known to lie where in both images.

    Attributes:
        targets: Masks in fixed and in moving, none empty.
        landmarks: Points.
    """

    targets: tuple[tuple[BoolMask, BoolMask], ...]
    landmarks: tuple[LandmarkPair, ...]

    @classmethod
    def from_request(
        cls, request: pb.EvaluateRegistrationRequest, transform: Transform, *, max_pixels: int
    ) -> KnownPlaces:
        """Returns what a request says of the images of its transform.

        Raises:
            InvalidField: There is neither a target nor a landmark, a target is no mask, or the transform is between
                volumes.
            OutsideImage: A landmark lies outside its image.
            LimitExceeded: Too many of them, or a mask is too large.
            NoContent: A mask is empty.
        """
        _ = transform.planar_warp
        if not request.targets and not request.landmarks:
            raise InvalidField("needs a target or a landmark", field="landmarks")
        for field, given, most in (
            ("targets", len(request.targets), MAX_TARGETS),
            ("landmarks", len(request.landmarks), MAX_LANDMARKS),
        ):
            if given > most:
                raise LimitExceeded(f"{given} are given; at most {most}", field=field)
        sizes = transform.fixed_size, transform.moving_size
        landmarks = []
        for index, message in enumerate(request.landmarks):
            landmarks.append(landmark_from_message(message, f"landmarks[{index}]"))
            check_landmark(landmarks[-1], f"landmarks[{index}]", *sizes)
        targets = tuple(
            (
                _mask(pair.in_fixed, f"targets[{index}].in_fixed", sizes[0], max_pixels),
                _mask(pair.in_moving, f"targets[{index}].in_moving", sizes[1], max_pixels),
            )
            for index, pair in enumerate(request.targets)
        )
        return cls(targets, tuple(landmarks))


def evaluation_request(
    transform: Transform | bytes, targets: Sequence[tuple[BoolMask, BoolMask]], landmarks: Sequence[LandmarkPair]
) -> pb.EvaluateRegistrationRequest:
    """Returns the request."""
    return pb.EvaluateRegistrationRequest(
        transform=reference_to_message(transform),
        targets=[
            pb.TargetPair(
                in_fixed=pb.Target(mask=mask_to_message(one)), in_moving=pb.Target(mask=mask_to_message(other))
            )
            for one, other in targets
        ],
        landmarks=[landmark_to_message(pair) for pair in landmarks],
    )


def evaluation_to_message(evaluation: RegistrationEvaluation) -> pb.EvaluateRegistrationResponse:
    """Returns the answer."""
    errors = evaluation.landmarks
    return pb.EvaluateRegistrationResponse(
        unit=_UNITS[evaluation.unit],
        landmarks=None
        if errors is None
        else pb.LandmarkErrors(errors=errors.errors, mean=errors.mean, p95=errors.p95, max=errors.max),
        targets=[
            pb.TargetEvaluation(
                dice=target.dice,
                centroid_error=target.centroid_error,
                mean_surface_distance=target.mean_surface_distance,
                max_surface_distance=target.max_surface_distance,
            )
            for target in evaluation.targets
        ],
        folding_fraction=evaluation.folding_fraction,
        inverse_residual=evaluation.inverse_residual,
        flags=flags_to_message(evaluation.flags),
    )


def evaluation_from_message(message: pb.EvaluateRegistrationResponse) -> RegistrationEvaluation:
    """Returns the evaluation."""
    return RegistrationEvaluation(
        "mm" if message.unit == pb.LENGTH_UNIT_MM else "px",
        LandmarkErrors(tuple(message.landmarks.errors)) if message.HasField("landmarks") else None,
        tuple(
            TargetEvaluation(
                target.dice, target.centroid_error, target.mean_surface_distance, target.max_surface_distance
            )
            for target in message.targets
        ),
        message.folding_fraction,
        message.inverse_residual if message.HasField("inverse_residual") else None,
        tuple(flag_name(flag) for flag in message.flags),
    )


def _mask(message: pb.Target, field: str, size: tuple[int, int], max_pixels: int) -> BoolMask:
    if message.WhichOneof("outline") != "mask":
        raise InvalidField("needs a mask", field=field)
    mask = mask_from_message(message.mask, f"{field}.mask", size=size, max_pixels=max_pixels)
    if not mask.any():
        raise NoContent("the mask is empty; send one with foreground, or leave the target out", field=f"{field}.mask")
    return mask
