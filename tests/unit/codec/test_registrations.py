"""Results of registrations, as they travel."""

import numpy as np

from hilum.codec.registrations import registration_from_message, registration_to_message
from hilum.displacement_field import DisplacementField
from hilum.transform import Transform
from hilum.types import DeformationReport, Registration, StageReport, TargetReport


def test_round_trip() -> None:
    """Everything that a registration says arrives as it was, masks included."""
    mask = np.arange(20).reshape(4, 5) % 3 == 0
    registration = Registration(
        transform=Transform.from_matrix(np.eye(3), (4, 5), (6, 7), flags=("LOW_OVERLAP",), algorithm="a-1"),
        match_loss_before=0.25,
        match_loss_after=0.125,
        overlap_fraction=0.75,
        stages=(StageReport("search", True, 0.5, 0.625), StageReport("affine", False, 0.625, 0.5)),
        targets=(TargetReport(0.25, 0.75, mask, ~mask),),
        total_ms=12.5,
        inverse=Transform.from_matrix(
            np.eye(3), (6, 7), (4, 5), displacement_field=DisplacementField(np.ones((2, 6, 7)))
        ),
        inverse_residual_px=0.0625,
        deformation=DeformationReport(0.125, 0.5, 2.0, 3.0),
        landmark_errors_px=(1.5, 2.5),
        distinctness=0.25,
    )
    back = registration_from_message(registration_to_message(registration))
    assert back.transform == registration.transform
    assert back.stages == registration.stages
    assert (back.match_loss_before, back.match_loss_after, back.overlap_fraction) == (0.25, 0.125, 0.75)
    assert (back.total_ms, back.inverse_residual_px, back.distinctness) == (12.5, 0.0625, 0.25)
    assert back.inverse == registration.inverse
    assert back.deformation == registration.deformation
    assert back.landmark_errors_px == (1.5, 2.5)
    (target,) = back.targets
    assert (target.dice_before, target.dice_after) == (0.25, 0.75)
    assert np.array_equal(target.mask_fixed, mask)
    assert np.array_equal(target.mask_moving, ~mask)
