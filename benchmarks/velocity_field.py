"""The alternative that was not taken: a stationary velocity field, whose flow is a diffeomorphism by construction.

A cubic B-spline holds a velocity instead of a displacement; the displacement is where its flow arrives after a unit of
time, by scaling and squaring: a thirty-second of it, composed with itself five times (Arsigny et al., "A log-Euclidean
framework for statistics on diffeomorphisms", MICCAI 2006). Everything else is the registration's own: the same levels,
measures, steps and accept-or-keep rule. See docs/adr/0008.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hilum.registration_options import RegistrationOptions
from hilum.types import ViewRelation
from services.fusion.registration.agreement import Judge
from services.fusion.registration.alignment import Alignment, warp
from services.fusion.registration.deformation import Deformation, smallest_determinant
from services.fusion.registration.free_form import FreeFormLevel, FreeFormProblem, FreeFormStanding
from services.fusion.registration.gauss_newton import Descent, climb, normal_fields
from services.fusion.registration.plan import FINEST, image_stages
from services.fusion.registration.search import SearchGrid
from services.fusion.registration.spline import pixel_grid
from services.fusion.registration.stages import FreeFormStage, Span, Stage, Steps, climbed
from services.fusion.registration.workspace import Workspace
from services.fusion.stepping import Work

_SQUARINGS = 5
_LEAST_DETERMINANT = 0.02


class VelocityField(Deformation):
    """A deformation that is the flow of the spline instead of the spline."""

    def refined(self, intervals: int) -> VelocityField:
        """The same velocity with more control points."""
        return VelocityField(super().refined(intervals).control)

    def on_canvas(self, size: int) -> Tensor:
        """Displacements (2, size, size) at the pixels of a canvas, float64."""
        flow: Tensor = super().on_canvas(size) / 2**_SQUARINGS
        for _ in range(_SQUARINGS):
            flow = flow + _sampled(flow, pixel_grid(size) + flow)
        return flow

    def on_grid(self, x: Tensor, y: Tensor) -> Tensor:
        """Displacements (2, len(y), len(x)), linear between those of the finest canvas."""
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        return _sampled(self.on_canvas(FINEST), torch.stack([columns, rows]))


def _sampled(flow: Tensor, places: Tensor) -> Tensor:
    sampled: Tensor = warp(flow.float(), places.permute(1, 2, 0).float()).double()
    return sampled


class _VelocityProblem(FreeFormProblem):
    """Changes of the velocity; the flow's derivative by it is taken to be the identity, as Vercauteren et al. do."""

    def look(self, alignment: Alignment) -> Work[FreeFormStanding]:
        standing = yield from super().look(alignment)
        return _VelocityStanding(self, alignment, standing.objective, standing.images)

    def stepped(self, alignment: Alignment, step: Tensor, longest: float) -> Alignment | None:
        if alignment.deformation is None:
            return None
        change = step * min(1.0, longest / max(float(step.norm(dim=0).max()), 1e-12))
        proposal = Alignment(alignment.matrix, VelocityField(alignment.deformation.control + change))
        determinant = smallest_determinant(proposal.displaced(self.pair.size) * (self.pair.size / 2.0))
        return proposal if determinant >= _LEAST_DETERMINANT else None


@dataclass(frozen=True, eq=False)
class _VelocityStanding(FreeFormStanding):
    def per_pixel(self) -> tuple[Tensor, Tensor]:
        return normal_fields(self.images)


@dataclass(frozen=True)
class VelocityStage:
    """Flows at one level."""

    level: FreeFormLevel
    name: str
    judged_at: int = 256
    share: float = 0.75

    def run(self, workspace: Workspace, start: Alignment, judge: Judge) -> Steps:
        """Propose what the level reaches; `judge` is not used."""
        pair, level = workspace.at(self.level.size), self.level
        known = start.deformation or VelocityField.none(level.intervals)
        begun = Alignment(start.matrix, VelocityField(known.control).refined(level.intervals))
        climbing = climb(_VelocityProblem(pair, level), begun, pair.size, Descent(level.steps, level.enough))
        return (yield from climbed(climbing, Span(0.0, 1.0, level.steps)))


def velocity_stages(
    stiffness: float, views: ViewRelation, options: RegistrationOptions, grid: SearchGrid
) -> Sequence[Stage]:
    """The registration's stages with flows in place of bends.

    Args:
        stiffness: Against the displacement's: a velocity bends differently.
        views: As in `image_stages`.
        options: Likewise.
        grid: Likewise.
    """
    stages = image_stages(views, replace(options, stiffness=options.stiffness * stiffness), grid)
    return [VelocityStage(s.level, s.name) if isinstance(s, FreeFormStage) else s for s in stages]
