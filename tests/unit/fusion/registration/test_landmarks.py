"""Tests of landmarks in working space."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hilum.registration_options import LandmarkPair
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.landmarks import Landmarks
from services.fusion.registration.workspace import Workspace
from tests.unit.fusion.phantoms import motion


def test_pairs_that_meet_miss_nothing() -> None:
    """Under the very motion that links them, points of images of different spacing have no energy."""
    fixed = RegistrationImage(np.eye(40, 50), (1.0, 2.0))
    moving = RegistrationImage(np.eye(80, 60), (0.5, 0.5))
    matrix = motion((40, 50), 10.0, 1.5, (3.0, -2.0))
    points = [(10.0, 5.0), (30.0, 20.0), (44.0, 33.0)]
    pairs = [
        LandmarkPair(p, tuple((matrix @ (*p, 1.0))[:2]), weight) for p, weight in zip(points, (1, 2, 1), strict=True)
    ]
    workspace = Workspace(fixed, moving, 16, 16, landmarks=pairs)
    landmarks = workspace.at(16).landmarks
    assert landmarks.energy(workspace.alignment_of(matrix)) == pytest.approx(0.0, abs=1e-12)
    assert landmarks.energy(Alignment.identity()) > 0.0
    assert landmarks.shares.tolist() == [0.25, 0.5, 0.25]


def test_no_landmarks_have_no_energy() -> None:
    """Without landmarks nothing pulls."""
    assert Landmarks.none().energy(Alignment(torch.eye(3).double() * 2)) == 0.0
