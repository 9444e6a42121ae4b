"""Rigid motions as six numbers."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.fusion.pose.rigid import RigidSpace, left_jacobian, rotation_matrix

NUMBERS = st.lists(st.floats(-80, 80), min_size=6, max_size=6).map(lambda values: torch.tensor(values).double())


def _space() -> RigidSpace:
    initial = torch.eye(4, dtype=torch.float64)
    initial[:3, :3] = rotation_matrix(torch.tensor([0.2, -0.1, 0.3]).double())
    initial[:3, 3] = torch.tensor([5.0, -7.0, 11.0])
    return RigidSpace(initial, torch.tensor([30.0, -20.0, 100.0]).double(), 90.0)


@given(NUMBERS)
def test_motions_are_rigid(motion: torch.Tensor) -> None:
    """Any six numbers give a rotation and a shift; the pivot goes where the translation says."""
    space = _space()
    matrix = space.matrix(motion)
    turn = matrix[:3, :3].numpy()
    np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-9)
    assert np.linalg.det(turn) > 0
    at_rest = torch.linalg.inv(space.initial) @ torch.cat([space.pivot, torch.ones(1)]).double()
    np.testing.assert_allclose((matrix @ at_rest)[:3], space.moved_pivot(motion), atol=1e-9)


@given(NUMBERS, NUMBERS)
def test_tangent_agrees_with_differences(motion: torch.Tensor, direction: torch.Tensor) -> None:
    """A small change of the six numbers moves points as the turn and the shift that the tangent names."""
    space, step = _space(), 1e-5
    point = torch.tensor([12.0, 40.0, -60.0, 1.0]).double()
    before, after = (space.matrix(motion + sign * step * direction) @ point for sign in (-1, 1))
    found = (after - before)[:3] / (2 * step)
    change = space.tangent(motion) @ direction
    place = (space.matrix(motion) @ point)[:3]
    expected = torch.linalg.cross(change[:3], place - space.moved_pivot(motion)) + change[3:]
    np.testing.assert_allclose(found, expected, atol=1e-4 * (1 + float(direction.norm())))


def test_small_rotations_have_the_limit() -> None:
    """Near no rotation the Jacobian is continuous."""
    tiny = torch.tensor([1e-7, 0.0, 0.0]).double()
    np.testing.assert_allclose(left_jacobian(tiny), left_jacobian(tiny * 30), atol=1e-5)
