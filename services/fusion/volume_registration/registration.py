"""Registration of two volumes: stages propose, agreement decides, figures are reported."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from hilum.geometry import Float
from hilum.types import RegistrationProgress, StageReport
from hilum.volume_registration import VolumeRegistrationOptions, check_volumes
from services.fusion.stepping import reporting
from services.fusion.volume_registration.agreement import Agreement
from services.fusion.volume_registration.alignment import Alignment
from services.fusion.volume_registration.canvas import RegistrationVolume
from services.fusion.volume_registration.delivery import DeliveredField, deliver
from services.fusion.volume_registration.examination import doubts, overlap_fraction
from services.fusion.volume_registration.plan import JUDGED, volume_stages
from services.fusion.volume_registration.search import SearchGrid
from services.fusion.volume_registration.stages import Stage
from services.fusion.volume_registration.workspace import Workspace

ALGORITHM = "hilum-volume-1"
"""Changes with every change that changes results."""

_Progress: TypeAlias = Generator[RegistrationProgress, None, tuple[Alignment, tuple[StageReport, ...]]]


@dataclass(frozen=True, eq=False)
class VolumeOutcome:
    """What a registration found.

    Attributes:
        fixed_to_moving: float64 (4, 4), affine, on (x, y, slice, 1) in voxels, centres at integers; of displaced fixed
            voxels where there is a field: p goes to fixed_to_moving (p + u(p)).
        field: u with its inverse and figures; None where the transform is affine.
        flags: sorted names of hilum.v1.TransformFlag.
        stages: what each stage did.
        similarity_before: agreement of the start: the initial transform, or the volumes' centres on each other.
        similarity_after: of the result.
        overlap_fraction: share of the fixed volume's body that the moving volume covers.
        distinctness: how far the result stands out from its neighbours; see `Agreement.distinctness`.
    """

    fixed_to_moving: Float
    field: DeliveredField | None
    flags: tuple[str, ...]
    stages: tuple[StageReport, ...]
    similarity_before: float
    similarity_after: float
    overlap_fraction: float
    distinctness: float


class VolumeRegistration:
    """Registers pairs of volumes.

    Args:
        grid: what the search tries.
        threads: torch's threads within an operation, for the whole process.
    """

    def __init__(self, grid: SearchGrid | None = None, *, threads: int = 1) -> None:
        self._grid = grid or SearchGrid()
        self._threads = threads

    def run(
        self, fixed: RegistrationVolume, moving: RegistrationVolume, options: VolumeRegistrationOptions | None = None
    ) -> Generator[RegistrationProgress, None, VolumeOutcome]:
        """Yield progress while working; return the outcome. Close the generator to stop.

        Args:
            fixed: the volume whose points the transform takes.
            moving: the volume that they are taken to.
            options: what is asked for and known; the defaults when absent.

        Raises:
            InvalidField: shapes or spacings do not fit, or an option cannot be followed.
            NoContent: a volume is constant.
        """
        options = options or VolumeRegistrationOptions()
        begun = RegistrationProgress("prepare", 0.0, 0.0)
        check_volumes(fixed.place, moving.place, "registration")
        for name, volume in (("fixed", fixed), ("moving", moving)):
            yield from reporting(begun, volume.check(f"registration.{name}"))
        options.check(fixed.size, moving.size, field="registration.")
        torch.set_num_threads(self._threads)
        workspace = Workspace(fixed, moving)
        yield from reporting(begun, workspace.draw())
        start = Alignment.identity()
        if options.initial is not None:
            start = workspace.alignment_of(options.initial.warp.matrix)
        frames = fixed.frame.frame_of_reference_uid, moving.frame.frame_of_reference_uid
        stages = volume_stages(
            options.model,
            self._grid,
            workspace.finest,
            stiffness=options.stiffness,
            searched=options.initial is None,
            in_place=frames[0] == frames[1] != "",
        )
        agreement = Agreement(workspace.at(JUDGED))
        yield begun
        alignment, reports = yield from follow(stages, workspace, agreement, start)
        done = RegistrationProgress("examine", 1.0, agreement.of(alignment))
        yield done
        delivery = deliver(workspace, alignment, fixed.size, moving.size, moving.frame.spacing_mm)
        field = yield from reporting(done, delivery)
        overlap = overlap_fraction(workspace.at(JUDGED), alignment)
        yield done
        distinctness = yield from reporting(done, agreement.distinctness(alignment))
        yield done
        return VolumeOutcome(
            workspace.fixed_to_moving_px(alignment),
            field,
            doubts(alignment, field, overlap, distinctness),
            reports,
            agreement.of(start),
            agreement.of(alignment),
            overlap,
            distinctness,
        )


def follow(stages: Sequence[Stage], workspace: Workspace, agreement: Agreement, start: Alignment) -> _Progress:
    """Run the stages; keep a proposal only where it agrees no worse than what was there before."""
    total, done = sum(stage.share for stage in stages), 0.0
    alignment: Alignment = start
    reports: list[StageReport] = []
    for stage in stages:
        steps = stage.run(workspace, alignment, agreement)
        progress = RegistrationProgress(stage.name, done / total, 0.0)
        while True:
            try:
                step = next(steps)
            except StopIteration as finished:
                proposal: Alignment = finished.value
                break
            if step is not None:
                progress = RegistrationProgress(
                    stage.name, (done + step.fraction * stage.share) / total, step.similarity
                )
            yield progress
        done += stage.share
        before, after = agreement.of(alignment), agreement.of(proposal)
        yield RegistrationProgress(stage.name, done / total, after)
        reports.append(StageReport(stage.name, after >= before, before, after))
        if after >= before:
            alignment = proposal
    return alignment, tuple(reports)
