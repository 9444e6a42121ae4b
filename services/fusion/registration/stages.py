"""The stages of a registration: each takes an alignment and proposes a better one, a step at a time."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Protocol

from services.fusion.registration.affine import AffineLevel, AffineProblem, refine_affine
from services.fusion.registration.agreement import Judge
from services.fusion.registration.alignment import Aligned, Alignment, Candidate
from services.fusion.registration.free_form import FreeFormLevel, refine_free_form
from services.fusion.registration.gauss_newton import Climb
from services.fusion.registration.search import Anchor, SearchGrid, landmark_anchor, search, target_anchor
from services.fusion.registration.workspace import CanvasPair, Workspace
from services.fusion.stepping import Finished, next_step


@dataclass(frozen=True)
class Step:
    """What a stage has done so far.

    Attributes:
        fraction: of the stage's work, in [0, 1].
        similarity: of the images now; comparable within one level of a stage.
    """

    fraction: float
    similarity: float


Steps = Generator[Step | None, None, Alignment]
"""Yields after each piece of work, so that the caller can stop, None where nothing is new; returns the proposal."""


@dataclass(frozen=True)
class Span:
    """The part of a stage's work that a climb is.

    Attributes:
        begin: fraction of the stage at its begin.
        end: at its end.
        looks: after about how many looks that is.
    """

    begin: float
    end: float
    looks: int = 1

    def after(self, looks: int) -> float:
        """The fraction of the stage's work after so many looks."""
        return self.begin + (self.end - self.begin) * min(1.0, looks / (self.looks + 1))


def climbed(climb: Climb[Aligned], span: Span) -> Generator[Step | None, None, Aligned]:
    """Climb, a step at a time; returns the best alignment."""
    looks = 0
    while True:
        reached = next_step(climb)
        if isinstance(reached, Finished):
            return reached.outcome.alignment
        if reached is None:
            yield None
        else:
            yield Step(span.after(looks), reached.similarity)
            looks += 1


class Stage(Protocol):
    """A part of a registration that proposes an alignment; whether it is kept is decided elsewhere."""

    @property
    def name(self) -> str:
        """The name in progress and reports."""

    @property
    def share(self) -> float:
        """Roughly how long it takes, in any unit that all stages share."""

    @property
    def judged_at(self) -> int:
        """Side of the canvas on which its proposal is judged."""

    def run(self, workspace: Workspace, start: Alignment, judge: Judge) -> Steps:
        """Improve on `start`."""


@dataclass(frozen=True)
class SearchStage:
    """Finds the neighbourhood of the answer without a start.

    The best alignments of the grid search are refined briefly; the one that then agrees best is proposed.

    Attributes:
        size: canvas side of the search.
        grid: what is tried.
        refinement: how the best are refined.
        freely: search everywhere.
        from_targets: search around the targets' centroids.
        from_landmarks: search around the landmarks' centroids.
        from_start: consider the start, too.
        keep: how many of each search are refined.
        judged_at: side of the canvas on which they are compared.
    """

    size: int
    grid: SearchGrid
    refinement: AffineLevel
    freely: bool = True
    from_targets: bool = False
    from_landmarks: bool = True
    from_start: bool = False
    keep: int = 3
    judged_at: int = 128
    name: str = "search"
    share: float = 1.0

    def run(self, workspace: Workspace, start: Alignment, judge: Judge) -> Steps:
        """Propose the best of the grid, or of the start's neighbourhood."""
        pair = workspace.at(self.size)
        anchors = self._anchors(pair)
        looks = len(anchors) * self.keep + self.from_start
        total, done = len(anchors) * len(self.grid.scales) + looks, 0
        starts = [Candidate(replace(start, deformation=None), 0.0)] if self.from_start else []
        for anchor in anchors:
            found: list[Candidate[Alignment]] = []
            for candidates in search(pair, self.grid, anchor):
                found += candidates
                done += 1
                yield Step(done / total, max(candidate.similarity for candidate in found))
            starts += sorted(found, key=lambda candidate: -candidate.similarity)[: self.keep]
        problem = AffineProblem(pair, self.refinement)
        best, best_agreement = start, -1.0
        for candidate in starts:
            climb = problem.climbed_from(candidate.alignment)
            refined = yield from climbed(climb, Span(done / total, done / total))
            done += 1
            agreed = judge.of(refined)
            if agreed > best_agreement:
                best, best_agreement = refined, agreed
        yield Step(1.0, best_agreement)
        return best

    def _anchors(self, pair: CanvasPair) -> list[Anchor | None]:
        anchors: list[Anchor | None] = [None] if self.freely else []
        if self.from_targets and pair.has_targets:
            anchors.append(target_anchor(pair))
        if self.from_landmarks and len(pair.landmarks):
            anchors.append(landmark_anchor(pair))
        return anchors


@dataclass(frozen=True)
class AffineStage:
    """Refines an affine alignment from coarse to fine."""

    levels: tuple[AffineLevel, ...]
    judged_at: int = 256
    name: str = "affine"
    share: float = 1.0

    def run(self, workspace: Workspace, start: Alignment, judge: Judge) -> Steps:
        """Propose what the finest level reaches; `judge` is not used."""
        alignment = replace(start, deformation=None)
        for index, level in enumerate(self.levels):
            span = Span(index / len(self.levels), (index + 1) / len(self.levels), level.steps)
            alignment = yield from climbed(refine_affine(workspace.at(level.size), alignment, level), span)
        return alignment


@dataclass(frozen=True)
class FreeFormStage:
    """Bends at one level."""

    level: FreeFormLevel
    name: str
    judged_at: int = 256
    share: float = 0.75

    def run(self, workspace: Workspace, start: Alignment, judge: Judge) -> Steps:
        """Propose what the level reaches; `judge` is not used."""
        climb = refine_free_form(workspace.at(self.level.size), start, self.level)
        return (yield from climbed(climb, Span(0.0, 1.0, self.level.steps)))
