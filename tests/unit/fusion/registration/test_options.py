"""Tests of what options are refused."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.errors import InvalidField
from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.options import LandmarkPair, RegistrationOptions

FIXED, MOVING = RegistrationImage(np.eye(20, 30)), RegistrationImage(np.eye(40, 10))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (RegistrationOptions(initial=np.eye(4)), "initial_transform"),
        (RegistrationOptions(initial=np.diag([1.0, np.nan, 1.0])), "initial_transform"),
        (RegistrationOptions(initial=np.diag([1.0, 0.0, 1.0])), "initial_transform"),
        (RegistrationOptions(initial=np.array([[1.0, 0, 0], [0, 1, 0], [0.1, 0, 1]])), "initial_transform"),
        (RegistrationOptions(landmarks=(LandmarkPair((30.0, 5.0), (5.0, 5.0)),)), "landmarks[0].fixed"),
        (
            RegistrationOptions(
                landmarks=(LandmarkPair((3.0, 5.0), (5.0, 5.0)), LandmarkPair((1.0, 1.0), (10.0, 1.0)))
            ),
            "landmarks[1].moving",
        ),
        (RegistrationOptions(landmarks=(LandmarkPair((np.nan, 5.0), (5.0, 5.0)),)), "landmarks[0].fixed"),
        (RegistrationOptions(landmarks=(LandmarkPair((3.0, 5.0), (5.0, 5.0), 0.0),)), "landmarks[0].weight"),
        (RegistrationOptions(rigid_region=np.ones((30, 20), np.bool_)), "rigid_region"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_its_path(options: RegistrationOptions, field: str) -> None:
    """Singular, projective or ill-shaped transforms, landmarks outside and masks of another shape are refused."""
    with pytest.raises(InvalidField) as refused:
        options.check(FIXED, MOVING)
    assert refused.value.field == field


def test_what_can_be_followed_is_accepted() -> None:
    """Landmarks on the very edge, a mirroring start and a mask of the fixed image's shape are fine."""
    RegistrationOptions(
        initial=np.diag([-1.0, 1.0, 1.0]),
        landmarks=(LandmarkPair((-0.5, 19.5), (9.5, 39.5), 3.0),),
        rigid_region=np.zeros((20, 30), np.bool_),
    ).check(FIXED, MOVING)
