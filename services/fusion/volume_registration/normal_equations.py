"""What the voxels of two volumes ask for: the matrices and forces of a Gauss-Newton step."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

from services.fusion.registration.comparison import Comparison, compared
from services.fusion.stepping import Work
from services.fusion.volume_registration.similarity import mind_ssc, orientation_tensor, slopes

# Of the symmetric matrices, which two axes stand where.
SYMMETRIC = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
FULL = (0, 1, 2, 1, 3, 4, 2, 4, 5)
"""Where the nine elements of a symmetric matrix stand among its six."""


class Measure(Enum):
    """What two volumes are compared by."""

    MIND = "mind"
    """MIND-SSC: finds its way from farther off."""
    GRADIENTS = "gradients"
    """Orientations of normalised gradients, blind to sign and strength: sharp where edges meet."""

    def channels(self, volume: Tensor, weight: Tensor) -> Tensor:
        """(c, n, n, n) of a volume (n, n, n) and the weight of its voxels; their squares sum to about one."""
        if self is Measure.MIND:
            return mind_ssc(volume).mul_(12**-0.5)
        return orientation_tensor(volume, weight)


class Comparer:
    """Compares volumes (n, n, n) with a fixed one.

    Args:
        measure: by what.
        fixed: the fixed volume.
        valid: the weight of its voxels.
    """

    def __init__(self, measure: Measure, fixed: Tensor, valid: Tensor) -> None:
        self._measure = measure
        self._wanted = measure.channels(fixed, valid)

    def of(self, moving: Tensor, weight: Tensor) -> Work[Comparison]:
        """The comparison with a warped moving volume and the weight of its voxels."""
        yield
        channels = self._measure.channels(moving, weight)
        yield
        return compared(self._wanted, channels, weight)


def normal_fields(comparison: Comparison) -> Work[tuple[Tensor, Tensor]]:
    """What each voxel asks for, in working units; see the planar `gauss_newton.normal_fields`.

    Channel by channel: the slopes of all of them at once would take a gigabyte.

    Args:
        comparison: of n x n x n voxels, with one weight for all channels.

    Returns:
        The symmetric matrices (6, n, n, n), in the order of `SYMMETRIC`, and the forces (3, n, n, n).
    """
    size = comparison.residual.shape[-1]
    matrices, forces = torch.zeros(6, size, size, size), torch.zeros(3, size, size, size)
    for channel, residual in zip(comparison.channels, comparison.residual, strict=True):
        slope = slopes(channel + 0.5 * residual)
        weighted = slope * comparison.weight
        for place, (row, column) in enumerate(SYMMETRIC):
            matrices[place].addcmul_(weighted[row], slope[column])
        forces.addcmul_(weighted, residual)
        yield
    per_unit = size / 2.0
    return matrices.mul_(per_unit**2), forces.mul_(per_unit)
