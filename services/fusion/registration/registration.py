"""Registration of two planar images: stages propose, agreement decides, figures are reported."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from hilum.errors import InvalidField
from hilum.registration_options import RegistrationOptions
from hilum.types import RegistrationProgress, StageReport, ViewRelation
from services.fusion.registration.agreement import Agreement, lead
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.delivery import DeliveredField, deliver
from services.fusion.registration.examination import Examination, Fit, Standing, beyond, doubts, field_doubts
from services.fusion.registration.plan import (
    COARSEST,
    FINEST,
    JUDGED,
    image_stages,
    refinement_stages,
    target_stages,
)
from services.fusion.registration.rivals import standing
from services.fusion.registration.search import SearchGrid
from services.fusion.registration.stages import Stage
from services.fusion.registration.workspace import Workspace
from services.fusion.stepping import reporting

ALGORITHM = "hilum-planar-6"
"""Changes with every change that changes results."""

# Targets that agree this well by what the images show have nothing to steer.
_SETTLED_DICE = 0.9
# What masks lead to is kept where the images have this much more mutual information there (see `lead`) and stand out no
# less. Similarity of structure, which was climbed, says little between places so far apart that other
# parts of the images meet. Of the 57 far and hard development pairs of `benchmarks.masks` whose masks were asked, those
# that masks brought nearer gained .49 at least; where they led to the same place again, or away, it was .025 at most.
_CLEARLY_MORE = 0.1
_WORTHWHILE_DICE = 0.02

Plan: TypeAlias = Callable[[ViewRelation, RegistrationOptions, SearchGrid], Sequence[Stage]]
_Progress: TypeAlias = Generator[RegistrationProgress, None, tuple[Alignment, tuple[StageReport, ...]]]


@dataclass(frozen=True, eq=False)
class RegistrationOutcome:
    """What a registration found.

    Attributes:
        fixed_to_moving: float64 (3, 3), affine, on (x, y, 1) in pixels, centres at integers; of displaced fixed pixels
            where there is a field: p goes to fixed_to_moving (p + u(p)).
        field: u with its inverse and figures; None where the transform is affine.
        flags: sorted names of hilum.v1.TransformFlag.
        stages: what each stage did.
        before: the fit of the start: the initial transform, or the images' centres on each other, in mm where both
            have spacing.
        after: the fit of the result.
        standing: how far the result stands out from its neighbours, and from what cannot be right.
    """

    fixed_to_moving: NDArray[np.float64]
    field: DeliveredField | None
    flags: tuple[str, ...]
    stages: tuple[StageReport, ...]
    before: Fit
    after: Fit
    standing: Standing


class Registration:
    """Registers pairs of images.

    Args:
        grid: what the search tries, and beyond which a deformation counts as large.
        plan: which stages find an alignment from image content; `image_stages` when absent.
        threads: torch's threads within an operation, for the whole process; on images of this size one is fastest.
            Those of BLAS are the caller's matter (`ComputePool`): more than one spin, and take more than they give.
    """

    def __init__(self, grid: SearchGrid | None = None, plan: Plan = image_stages, *, threads: int = 1) -> None:
        self._grid = grid or SearchGrid()
        self._plan = plan
        self._threads = threads

    def run(
        self,
        fixed: RegistrationImage,
        moving: RegistrationImage,
        views: ViewRelation,
        options: RegistrationOptions | None = None,
    ) -> Generator[RegistrationProgress, None, RegistrationOutcome]:
        """Yield progress while working; return the outcome. Close the generator to stop.

        Args:
            fixed: the image whose grid the result is shown on.
            moving: the image that is brought onto it; as many targets.
            views: how the two see the body.
            options: what is asked for and known; the defaults when absent.

        Raises:
            InvalidField: shapes, spacings or the numbers of targets do not fit, or an option cannot be followed.
            OutsideImage: a landmark lies outside its image.
            LimitExceeded: more than 100 landmarks.
            NoContent: an image is constant or a target empty.
        """
        options = options or RegistrationOptions()
        begun = RegistrationProgress("prepare", 0.0, 0.0)
        yield from reporting(begun, _check(fixed, moving, options))
        torch.set_num_threads(self._threads)
        workspace = yield from reporting(begun, Workspace.in_steps(fixed, moving, FINEST, COARSEST, options))
        start = Alignment.identity() if options.initial is None else workspace.alignment_of(options.initial.matrix)
        steered = views is ViewRelation.COMPARABLE and len(fixed.targets) > 0
        by_images = _Judges(workspace, with_targets=False)
        by_targets = _Judges(workspace, with_targets=True) if steered else by_images
        flags = set() if views is ViewRelation.COMPARABLE else {"VIEWS_DIFFER"}

        stages = self._plan(views, options, self._grid)
        share = 0.5 if steered else 1.0
        alignment, reports = yield from _follow(stages, workspace, by_images, start, (0.0, share))
        if steered and by_targets.at(FINEST).target_dice(alignment).min() < _SETTLED_DICE:
            ways = target_stages(options, self._grid), refinement_stages(views, options)
            led = _led_by_masks(ways, workspace, (by_targets, by_images), alignment, share)
            alignment, more, rejected = yield from led
            reports += more
            flags |= rejected

        judge = by_targets.at(JUDGED)
        done = RegistrationProgress("examine", 1.0, judge.of_images(alignment))
        yield done
        field = yield from reporting(done, deliver(workspace, alignment, fixed.size, moving.size))
        yield done
        examination = Examination(fixed, moving, workspace, judge)
        yield done
        before = yield from reporting(done, examination.fit(start))
        after = yield from reporting(done, examination.fit(alignment))
        yield done
        reached = yield from reporting(done, standing(workspace, alignment, judge, options, self._grid))
        flags |= doubts(after, reached, views)
        flags |= field_doubts(field, alignment, workspace)
        if beyond(alignment, self._grid):
            flags.add("LARGE_DEFORMATION")
        matrix = workspace.fixed_to_moving_px(alignment)
        return RegistrationOutcome(matrix, field, tuple(sorted(flags)), reports, before, after, reached)


def _led_by_masks(
    ways: tuple[Sequence[Stage], Sequence[Stage]],
    workspace: Workspace,
    judges: tuple[_Judges, _Judges],
    alignment: Alignment,
    done: float,
) -> Generator[RegistrationProgress, None, tuple[Alignment, tuple[StageReport, ...], set[str]]]:
    """Follows the masks, then the images from there; returns where that leads, or the alignment itself, with flags."""
    half = (done + 1.0) / 2.0
    affine = replace(alignment, deformation=None)
    guess, reports = yield from _follow(ways[0], workspace, judges[0], affine, (done, half))
    proposal, more = yield from _follow(ways[1], workspace, judges[1], guess, (half, 1.0))
    verdict = _verdict_on_masks(judges[1], alignment, guess, proposal)
    rejected = {"MASKS_REJECTED"} if verdict is MaskVerdict.REJECTED else set()
    return proposal if verdict is MaskVerdict.KEPT else alignment, reports + more, rejected


class MaskVerdict(Enum):
    """What becomes of the alignment that masks led to."""

    KEPT = "kept"
    NOT_NEEDED = "not needed"
    REJECTED = "rejected"


def _verdict_on_masks(judges: _Judges, by_images: Alignment, guess: Alignment, by_masks: Alignment) -> MaskVerdict:
    """Masks may lead to a better place, but that it is better the images have to show.

    Args:
        judges: of the images alone.
        by_images: what was found without masks.
        guess: what masks led to.
        by_masks: what the images made of that.
    """
    judge = judges.at(JUDGED)
    more = lead(judge.information(by_masks), judge.information(by_images))
    if more > _CLEARLY_MORE and judge.distinctness(by_masks) >= judge.distinctness(by_images):
        return MaskVerdict.KEPT
    judge = judges.at(FINEST)
    gained = float((judge.target_dice(guess) - judge.target_dice(by_images)).mean())
    return MaskVerdict.NOT_NEEDED if gained < _WORTHWHILE_DICE else MaskVerdict.REJECTED


class _Judges:
    """The agreements of one registration, one for each size of canvas that something is judged on."""

    def __init__(self, workspace: Workspace, *, with_targets: bool) -> None:
        self._workspace, self._with_targets = workspace, with_targets
        self._known: dict[int, Agreement] = {}

    def at(self, size: int) -> Agreement:
        if size not in self._known:
            self._known[size] = Agreement(self._workspace.at(size), with_targets=self._with_targets)
        return self._known[size]


def _check(
    fixed: RegistrationImage, moving: RegistrationImage, options: RegistrationOptions
) -> Generator[None, None, None]:
    """Refuse what cannot be registered; yields between images."""
    fixed.check("fixed")
    yield
    moving.check("moving")
    options.check(fixed.size, moving.size)
    if len(fixed.targets) != len(moving.targets):
        raise InvalidField(
            f"{len(fixed.targets)} in the fixed image, {len(moving.targets)} in the moving", field="targets"
        )


def _follow(
    stages: Sequence[Stage], workspace: Workspace, judges: _Judges, start: Alignment, span: tuple[float, float]
) -> _Progress:
    """Run the stages; keep a proposal only where it agrees no worse than what was there before."""
    total, done = sum(stage.share for stage in stages), 0.0
    alignment: Alignment = start
    reports: list[StageReport] = []
    for stage in stages:
        agreement = judges.at(stage.judged_at)
        steps = stage.run(workspace, alignment, agreement)
        progress = RegistrationProgress(stage.name, span[0] + (span[1] - span[0]) * done / total, 0.0)
        while True:
            try:
                step = next(steps)
            except StopIteration as finished:
                proposal: Alignment = finished.value
                break
            if step is not None:
                fraction = (done + step.fraction * stage.share) / total
                progress = RegistrationProgress(stage.name, span[0] + (span[1] - span[0]) * fraction, step.similarity)
            yield progress
        done += stage.share
        before, after = agreement.of(alignment), agreement.of(proposal)
        reports.append(StageReport(stage.name, after >= before, before, after))
        if after >= before:
            alignment = proposal
    return alignment, tuple(reports)
