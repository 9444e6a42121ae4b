"""Tests of the penalty that keeps bone rigid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from services.fusion.registration.alignment import Alignment
from services.fusion.registration.deformation import Deformation
from services.fusion.registration.lattice import Lattice
from services.fusion.registration.rigidity import Rigidity
from tests.unit.fusion.registration.test_deformation import random_deformation

SIZE, INTERVALS = 24, 4


def rigidity() -> Rigidity:
    region = torch.zeros(SIZE, SIZE)
    region[5:15, 8:20] = 1.0
    return Rigidity(Lattice(SIZE, INTERVALS), region)


def turned(angle: float, stretch: tuple[float, float] = (1.0, 1.0)) -> torch.Tensor:
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, -sin, 0.1], [sin, cos, -0.2], [0, 0, 1]]) @ np.diag([*stretch, 1.0])
    return torch.from_numpy(matrix)


def test_turning_and_scaling_as_a_whole_cost_nothing() -> None:
    """Rotation, shift and one scale are free; stretching along one axis is not."""
    none = Deformation.none(INTERVALS)
    assert rigidity().energy(Alignment(turned(0.7, (1.3, 1.3)), none)) == pytest.approx(0.0, abs=1e-9)
    assert rigidity().energy(Alignment(turned(0.7, (1.2, 1.0)), none)) == pytest.approx(0.02, rel=0.05)


def test_bending_outside_the_region_costs_nothing() -> None:
    """Control points whose splines do not reach the region may do what they like."""
    control = Deformation.none(INTERVALS).control.clone()
    control[:, -1, -1] = 5.0
    assert rigidity().energy(Alignment(turned(0.2), Deformation(control))) == pytest.approx(0.0, abs=1e-9)


def test_the_force_is_the_derivative() -> None:
    """Half the energy's fall along a direction is what force and direction say."""
    penalty, matrix = rigidity(), turned(0.3, (1.1, 0.9))
    start, direction = random_deformation(INTERVALS, 0.1, 0).control, random_deformation(INTERVALS, 0.1, 1).control
    _, force = penalty.equations(Alignment(matrix, Deformation(start)))
    step = 1e-3
    ahead, behind = (
        penalty.energy(Alignment(matrix, Deformation(start + sign * step * direction))) for sign in (1.0, -1.0)
    )
    expected = float((force.double() * direction).sum())
    assert -(ahead - behind) / (4 * step) == pytest.approx(expected, rel=0.02)
