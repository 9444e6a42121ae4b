"""The volume and the radiographs at one resolution, and how well they agree in a pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.geometry import PatientFrame
from services.fusion.pose.attenuation import AttenuationVolume
from services.fusion.pose.correlation import Agreement, agreement
from services.fusion.pose.projection import project
from services.fusion.pose.radiograph import Radiograph, Rays
from services.fusion.pose.rigid import RigidSpace


@dataclass(frozen=True, eq=False)
class Fit:
    """How well all views agree, by the six numbers of a motion.

    Attributes:
        views: one agreement per radiograph.
        similarity: the mean correlation over the windows of all views.
        gradient: float64 (6,), of the sum of correlations.
        curvature: float64 (6, 6), see `Agreement`.
        scatter: float64 (6, 6), see `Agreement`.
    """

    views: tuple[Agreement, ...]
    similarity: float
    gradient: Tensor
    curvature: Tensor
    scatter: Tensor


@dataclass(frozen=True, eq=False)
class Scene:
    """What is compared at one resolution.

    Attributes:
        volume: the CT.
        views: the radiographs' rays.
        pixel_mm: the mean side of a pixel of the radiographs.
    """

    volume: AttenuationVolume
    views: tuple[Rays, ...]
    pixel_mm: float

    @classmethod
    def at(
        cls, hounsfield: NDArray[np.generic], frame: PatientFrame, radiographs: Sequence[Radiograph], resolution_mm: float
    ) -> Scene:
        """Bring volume and radiographs to voxels and pixels of about this size; never finer than they are."""
        rays, sides = [], []
        for radiograph in radiographs:
            side = float(np.mean(radiograph.detector.spacing_mm[:2]))
            factor = max(1, round(resolution_mm / side))
            rays.append(Rays.of(radiograph, factor))
            sides.append(side * factor)
        return cls(AttenuationVolume.of(hounsfield, frame, resolution_mm), tuple(rays), float(np.mean(sides)))

    def fit(self, space: RigidSpace, motion: Tensor) -> Fit:
        """Compare all views in a pose."""
        matrix, pivot = space.matrix(motion), space.moved_pivot(motion)
        views = tuple(agreement(project(self.volume, rays, matrix, pivot), rays) for rays in self.views)
        tangent = space.tangent(motion)
        weight = sum(view.weight for view in views)
        return Fit(
            views,
            sum(view.total for view in views) / weight if weight > 0 else 0.0,
            tangent.T @ torch.stack([view.gradient for view in views]).sum(dim=0),
            tangent.T @ torch.stack([view.curvature for view in views]).sum(dim=0) @ tangent,
            tangent.T @ torch.stack([view.scatter for view in views]).sum(dim=0) @ tangent,
        )
