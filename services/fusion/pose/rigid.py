"""Rigid motions as six numbers: a rotation vector and a translation about a pivot.

The six numbers are measured in mm: rotations are multiplied by the body's radius, so that one unit of any of them moves
the body by about one mm, and a direction in this space has a length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RigidSpace:
    """Rigid motions of a body about its initial pose.

    Attributes:
        initial: float64 (4, 4), patient to room: the pose at zero.
        pivot: float64 (3,), room mm: about which the body turns; it moves with the translation.
        radius_mm: root mean square distance of the body's points from the pivot.
    """

    initial: Tensor
    pivot: Tensor
    radius_mm: float

    def matrix(self, motion: Tensor) -> Tensor:
        """float64 (4, 4), patient to room, of (rotation x, y, z, translation x, y, z) in mm."""
        turned = torch.eye(4, dtype=torch.float64)
        turned[:3, :3] = rotation_matrix(motion[:3] / self.radius_mm)
        turned[:3, 3] = self.pivot + motion[3:] - turned[:3, :3] @ self.pivot
        return turned @ self.initial

    def moved_pivot(self, motion: Tensor) -> Tensor:
        """Where the pivot lies; float64 (3,), room mm."""
        return self.pivot + motion[3:]

    def tangent(self, motion: Tensor) -> Tensor:
        """float64 (6, 6): small changes of the six numbers to (turn in radians about the moved pivot, shift in mm)."""
        change = torch.eye(6, dtype=torch.float64)
        change[:3, :3] = left_jacobian(motion[:3] / self.radius_mm) / self.radius_mm
        return change

    def rotation_vector(self, motion: Tensor) -> Tensor:
        """The rotation since the initial pose in radians, float64 (3,)."""
        return motion[:3] / self.radius_mm


def cross_matrix(vector: Tensor) -> Tensor:
    """The matrix of the cross product with a vector, float64 (3, 3)."""
    x, y, z = vector.tolist()
    return torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)


def rotation_matrix(vector: Tensor) -> Tensor:
    """float64 (3, 3), the rotation by a vector's length in radians about its direction (Rodrigues)."""
    rotation: Tensor = torch.linalg.matrix_exp(cross_matrix(vector))
    return rotation


def left_jacobian(vector: Tensor) -> Tensor:
    """float64 (3, 3): d such that rotation(vector + e) = rotation(d e) rotation(vector) for small e (Barfoot 2017)."""
    angle = float(torch.linalg.norm(vector))
    across = cross_matrix(vector)
    if angle < 1e-6:
        return torch.eye(3, dtype=torch.float64) + across / 2
    first = (1 - torch.cos(torch.tensor(angle))) / angle**2
    second = (angle - torch.sin(torch.tensor(angle))) / angle**3
    return torch.eye(3, dtype=torch.float64) + first * across + second * across @ across
