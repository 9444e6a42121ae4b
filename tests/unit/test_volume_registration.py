"""Tests of what a registration of volumes is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hilum.displacement_field import DisplacementField
from hilum.errors import InvalidField
from hilum.geometry import PatientFrame
from hilum.registration_options import TransformModel
from hilum.transform import Transform
from hilum.volume_registration import PlacedVolume, VolumeRegistrationOptions, check_volumes

SIZE = (20, 30, 40)
FRAME = PatientFrame((0.0, 0.0, 0.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (1.0, 1.0, 2.0))
PLACED = PlacedVolume(SIZE, FRAME)
START = Transform.from_matrix(np.eye(4), SIZE, SIZE)


def test_what_can_be_registered() -> None:
    """Volumes of other size, spacing and direction, and every option in its range, are taken."""
    check_volumes(PLACED, PlacedVolume((4, 4, 300), replace(FRAME, spacing_mm=(2.0, 1.0, 30.0))), "registration")
    VolumeRegistrationOptions(TransformModel.DEFORMABLE, START, 100.0).check(SIZE, SIZE)


@pytest.mark.parametrize(
    ("size", "spacing", "field"),
    [
        ((3, 30, 40), (1.0, 1.0, 1.0), "moving.shape"),
        (SIZE, (1.0, 1.0, 41.0), "moving.geometry"),
        (SIZE, (1.0, 1.0, 0.0), "moving.geometry"),
        (SIZE, (21.0, 21.0, 21.0), "moving.geometry"),
    ],
)
def test_volumes_that_cannot(size: tuple[int, int, int], spacing: tuple[float, float, float], field: str) -> None:
    """Thin volumes, needles, flat ones, and a spacing that must be wrong are refused with their path."""
    with pytest.raises(InvalidField) as refused:
        check_volumes(PLACED, PlacedVolume(size, replace(FRAME, spacing_mm=spacing)), "registration")
    assert refused.value.field == f"registration.{field}"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (VolumeRegistrationOptions(stiffness=2.0), "stiffness"),
        (VolumeRegistrationOptions(TransformModel.DEFORMABLE, stiffness=float("nan")), "stiffness"),
        (VolumeRegistrationOptions(TransformModel.DEFORMABLE, stiffness=1000.0), "stiffness"),
        (
            VolumeRegistrationOptions(initial=Transform.from_matrix(np.eye(4), SIZE, (9, 9, 9))),
            "initial_transform",
        ),
        (
            VolumeRegistrationOptions(initial=Transform.from_matrix(np.diag([1e-4, 1e-2, 1e-1, 1]), SIZE, SIZE)),
            "initial_transform",
        ),
        (
            VolumeRegistrationOptions(
                initial=replace(START, displacement_field=DisplacementField(np.zeros((3, *SIZE))))
            ),
            "initial_transform",
        ),
    ],
)
def test_options_that_cannot_be_followed(options: VolumeRegistrationOptions, field: str) -> None:
    """Options out of range, without use or of other volumes are refused with their path."""
    with pytest.raises(InvalidField) as refused:
        options.check(SIZE, SIZE, field="registration.")
    assert refused.value.field == f"registration.{field}"
