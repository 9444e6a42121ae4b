"""The volume and the radiographs at one resolution, and how well they agree in a pose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hilum.geometry import PatientFrame
from hilum.pose import Radiograph
from services.fusion.pose.attenuation import AttenuationVolume, pooled
from services.fusion.pose.correlation import WINDOW_PX, Agreement, agreement
from services.fusion.pose.projection import project
from services.fusion.pose.rays import Rays
from services.fusion.pose.rigid import RigidSpace

_LEAST_SIDE, _MOST_SIDE = 2 * WINDOW_PX, 256


@dataclass(frozen=True, eq=False)
class Fit:
    """How well all views agree, by the six numbers of a motion.

    Attributes:
        views: one agreement per radiograph.
        similarity: the mean correlation over the windows of all views.
        weight: the most that the sum of correlations can be.
        gradient: float64 (6,), of the sum of correlations.
        curvature: float64 (6, 6), see `Agreement`.
        scatter: float64 (6, 6), see `Agreement`.
    """

    views: tuple[Agreement, ...]
    similarity: float
    weight: float
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
    def pyramid(
        cls, relative: Tensor, frame: PatientFrame, radiographs: Sequence[Radiograph], resolutions_mm: Sequence[float]
    ) -> tuple[Scene, ...]:
        """The volume and the radiographs with voxels and pixels of about these sizes, never finer than they are.

        Args:
            relative: float32 (depth, height, width), see `relative_attenuation`.
            frame: where its voxels lie.
            radiographs: what it is compared with.
            resolutions_mm: from fine to coarse.

        Raises:
            InvalidField: the volume is too thin, or a radiograph too small.
            NoContent: nothing in the volume is denser than air.
        """
        scenes = []
        for resolution_mm in resolutions_mm:
            relative, frame = pooled(relative, frame, resolution_mm)
            rays, sides = [], []
            for radiograph in radiographs:
                side = float(np.mean(radiograph.detector.spacing_mm[:2]))
                # Windows must fit in, and the work is bounded.
                most = max(1, min(radiograph.pixels.shape) // _LEAST_SIDE)
                least = math.ceil(max(radiograph.pixels.shape) / _MOST_SIDE)
                factor = min(max(least, round(resolution_mm / side)), most)
                rays.append(Rays.of(radiograph, factor))
                sides.append(side * factor)
            scenes.append(cls(AttenuationVolume.of(relative, frame), tuple(rays), float(np.mean(sides))))
        return tuple(scenes)

    def fit(self, space: RigidSpace, motion: Tensor) -> Fit:
        """Compare all views in a pose."""
        matrix, pivot = space.matrix(motion), space.moved_pivot(motion)
        views = tuple(agreement(project(self.volume, rays, matrix, pivot), rays) for rays in self.views)
        tangent = space.tangent(motion)
        weight = sum(view.weight for view in views)
        return Fit(
            views,
            sum(view.total for view in views) / weight if weight > 0 else 0.0,
            weight,
            tangent.T @ torch.stack([view.gradient for view in views]).sum(dim=0),
            tangent.T @ torch.stack([view.curvature for view in views]).sum(dim=0) @ tangent,
            tangent.T @ torch.stack([view.scatter for view in views]).sum(dim=0) @ tangent,
        )
