"""Bone does not bend: a region in which the whole map may turn, but neither bend nor stretch.

The penalty of Loeckx et al., "Nonrigid image registration using free-form deformations with a local rigidity
constraint", MICCAI 2004, with a common scale: a radiograph magnifies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from services.fusion.registration.alignment import Alignment
from services.fusion.registration.lattice import Lattice


class Rigidity:
    """Mean over a region of |J - s R|²: J the map's Jacobian, R the rotation nearest to it, s one scale of all.

    Args:
        lattice: of the deformation.
        region: (n, n), the share of each pixel that is rigid.
    """

    def __init__(self, lattice: Lattice, region: Tensor) -> None:
        self._lattice = lattice
        self._share = region / region.sum().clamp(min=1e-6)
        self._products = lattice.slope_products(self._share)

    def energy(self, alignment: Alignment) -> float:
        """The mean squared deviation; 0 where the region moves as a whole."""
        return float((self._share * self._deviation(alignment).square().sum(dim=(0, 1))).sum())

    def equations(self, alignment: Alignment) -> tuple[Tensor, Tensor]:
        """Products (3, p, p) and force (2, m, m) that restore rigidity, for the nearest rotations of now."""
        linear = alignment.matrix[:2, :2].float()
        metric = linear.T @ linear
        products = torch.stack([metric[row, column] * self._products for row, column in ((0, 0), (0, 1), (1, 1))])
        pull = -torch.einsum("ik,ijyx->kjyx", linear, self._deviation(alignment)) * self._share
        return products, self._lattice.gathered_slopes(pull[:, 0], pull[:, 1])

    def _deviation(self, alignment: Alignment) -> Tensor:
        """(2, 2, n, n): J - s R."""
        linear = alignment.matrix[:2, :2].float()
        jacobian = linear[:, :, None, None].expand(2, 2, *self._share.shape)
        if alignment.deformation is not None:
            gradient = self._lattice.gradient(alignment.deformation.control.float())
            jacobian = jacobian + torch.einsum("ik,kjyx->ijyx", linear, gradient)
        angle = torch.atan2(jacobian[1, 0] - jacobian[0, 1], jacobian[0, 0] + jacobian[1, 1])
        cos, sin = angle.cos(), angle.sin()
        rotation = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])
        scale = (self._share * (rotation * jacobian).sum(dim=(0, 1))).sum() / 2.0
        return jacobian - scale * rotation
