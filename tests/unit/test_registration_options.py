"""Tests of what options are refused."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.displacement_field import DisplacementField
from hilum.errors import HilumError, InvalidField, LimitExceeded, OutsideImage
from hilum.registration_options import LandmarkPair, RegistrationOptions, TransformModel
from hilum.transform import Transform

FIXED, MOVING = (20, 30), (40, 10)
INSIDE = LandmarkPair((3.0, 5.0), (5.0, 5.0))
BENT = DisplacementField(np.zeros((2, *FIXED)))


@pytest.mark.parametrize(
    ("options", "field", "error"),
    [
        (
            RegistrationOptions(initial=Transform.from_matrix(np.eye(3), FIXED, MOVING, displacement_field=BENT)),
            "initial_transform",
            InvalidField,
        ),
        (
            RegistrationOptions(initial=Transform.from_matrix(np.eye(3), MOVING, FIXED)),
            "initial_transform",
            InvalidField,
        ),
        (
            RegistrationOptions(initial=Transform.from_matrix(np.eye(4), (2, *FIXED), (2, *MOVING))),
            "initial_transform",
            InvalidField,
        ),
        (
            RegistrationOptions(initial=Transform.from_matrix(np.diag([1e-4, 1e-3, 1.0]), FIXED, MOVING)),
            "initial_transform",
            InvalidField,
        ),
        (
            RegistrationOptions(landmarks=(LandmarkPair((30.0, 5.0), (5.0, 5.0)),)),
            "landmarks[0].in_fixed",
            OutsideImage,
        ),
        (
            RegistrationOptions(landmarks=(INSIDE, LandmarkPair((1.0, 1.0), (10.0, 1.0)))),
            "landmarks[1].in_moving",
            OutsideImage,
        ),
        (
            RegistrationOptions(landmarks=(LandmarkPair((np.nan, 5.0), (5.0, 5.0)),)),
            "landmarks[0].in_fixed",
            OutsideImage,
        ),
        (
            RegistrationOptions(landmarks=(LandmarkPair((3.0, 5.0), (5.0, 5.0), 0.0),)),
            "landmarks[0].weight",
            InvalidField,
        ),
        (
            RegistrationOptions(landmarks=(LandmarkPair((3.0, 5.0), (5.0, 5.0), np.inf),)),
            "landmarks[0].weight",
            InvalidField,
        ),
        (RegistrationOptions(landmarks=(INSIDE,) * 101), "landmarks", LimitExceeded),
        (
            RegistrationOptions(TransformModel.DEFORMABLE, rigid_region=np.ones((30, 20), np.bool_)),
            "rigid_region",
            InvalidField,
        ),
        (RegistrationOptions(rigid_region=np.ones(FIXED, np.bool_)), "rigid_region", InvalidField),
        (RegistrationOptions(stiffness=2.0), "stiffness", InvalidField),
        (RegistrationOptions(TransformModel.DEFORMABLE, stiffness=0.0), "stiffness", InvalidField),
        (RegistrationOptions(TransformModel.DEFORMABLE, stiffness=np.nan), "stiffness", InvalidField),
    ],
)
def test_what_cannot_be_followed_is_refused_by_its_path(
    options: RegistrationOptions, field: str, error: type[HilumError]
) -> None:
    """Starts that bend, are singular or of other images, landmarks outside, and numbers out of range are refused."""
    with pytest.raises(error) as refused:
        options.check(FIXED, MOVING)
    assert refused.value.field == field


def test_what_can_be_followed_is_accepted() -> None:
    """Landmarks on the very edge, a mirroring start and a mask of the fixed image's shape are fine."""
    RegistrationOptions(
        TransformModel.DEFORMABLE,
        initial=Transform.from_matrix(np.diag([-1.0, 1.0, 1.0]), FIXED, MOVING),
        landmarks=(LandmarkPair((-0.5, 19.5), (9.5, 39.5), 3.0),),
        rigid_region=np.zeros(FIXED, np.bool_),
        stiffness=100.0,
    ).check(FIXED, MOVING)
