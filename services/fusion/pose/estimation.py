"""The rigid pose of a CT volume from one or two radiographs whose projection geometry is known.

Many starts are climbed at a coarse resolution, the best of them at a finer one, and the best of those at the finest.
What the views cannot see is not guessed: where all look along one direction, depth is held at the initial pose, and
released only if the curvature of the similarity at the result says that it is seen after all. Directions that are not
seen are named, and the pose keeps its initial value along them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.errors import InvalidField
from hilum.geometry import Float, PatientFrame
from hilum.pose import FARTHEST_MM, MOST_VIEWS, EstimatedPose, Radiograph, ViewAgreement, check_pose
from hilum.types import RegistrationProgress
from services.fusion.pose.ascent import Climb, Place
from services.fusion.pose.attenuation import relative_attenuation
from services.fusion.pose.doubts import doubts, rivals, too_unlike, unseen_motion
from services.fusion.pose.observability import Observability, complement
from services.fusion.pose.rigid import RigidSpace
from services.fusion.pose.scene import Scene
from services.fusion.pose.search import StartGrid, climb_within, distinct

ALGORITHM = "hilum-pose-1"
"""Changes with every change that changes results."""

_FINE_MM, _MIDDLE_MM, _COARSE_MM = 3.0, 6.0, 12.0
_KEPT_STARTS = 6
# Climbs that end this near to each other found the same place.
_SAME_COARSE_MM, _SAME_MM = 6.0, 3.0
# Views within 20 degrees of each other see depth no better than one.
_ALONGSIDE = float(np.cos(np.radians(20.0)))
_LONGEST_VOXEL_MM = 50.0
_TOLERANCE_PX = 0.03
_SEARCH_SHARE, _SELECT_SHARE = 0.4, 0.7

Steps = Generator[RegistrationProgress, None, EstimatedPose]


class PoseEstimation:
    """Estimates poses.

    Args:
        grid: the starts, and how far from the initial pose a result may lie.
        threads: torch's threads within an operation, for the whole process.
    """

    def __init__(self, grid: StartGrid | None = None, *, threads: int = 1) -> None:
        self._grid = grid or StartGrid()
        self._threads = threads

    def run(
        self,
        hounsfield: NDArray[Any],
        frame: PatientFrame,
        radiographs: Sequence[Radiograph],
        initial: Float | None = None,
        *,
        padding_value: float | None = None,
    ) -> Steps:
        """Yield progress while working; return the outcome. Close the generator to stop.

        Args:
            hounsfield: (depth, height, width) in HU, any real dtype.
            frame: where the voxels lie in the patient, LPS mm; three spacings above 0.
            radiographs: one or two, in the same room.
            initial: float64 (4, 4), rigid: patient mm to room mm; the identity when absent.
            padding_value: of voxels that are no image; they count as air.

        Raises:
            InvalidField: a shape, geometry or matrix cannot be used.
            NoContent: nothing in the volume is denser than air.
        """
        start = np.eye(4) if initial is None else np.asarray(initial, np.float64)
        _check(hounsfield, frame, radiographs, start)
        torch.set_num_threads(self._threads)
        relative = relative_attenuation(hounsfield, padding_value)
        fine, middle, coarse = Scene.pyramid(relative, frame, radiographs, (_FINE_MM, _MIDDLE_MM, _COARSE_MM))
        space = _space(coarse, start)
        held = _held_direction(coarse)
        free = complement([] if held is None else [held])
        candidates = yield from self._search(coarse, space, free)
        chosen = yield from self._select(middle, space, candidates, free)
        refined = [(yield from self._refine(fine, space, chosen[0].motion, free, "refinement"))]
        rival = next((other for other in chosen[1:] if rivals(chosen[0], other)), None)
        if rival is not None and not too_unlike(refined[0]):
            refined.append((yield from self._refine(fine, space, rival.motion, free, "refinement")))
        place, *others = distinct(refined, _SAME_MM)
        seen = Observability.of(place.fit)
        if not (_same_span(free, seen.seen_basis(held)) or too_unlike(place)):
            # What is unseen keeps its initial value; what is seen although it was held may move now.
            free = seen.seen_basis(held)
            place = yield from self._refine(fine, space, free @ (free.T @ place.motion), free, "seen directions")
            seen = Observability.of(place.fit)
        return EstimatedPose(
            patient_to_room=space.matrix(place.motion).numpy(),
            views=tuple(ViewAgreement(view.similarity, view.coverage) for view in place.fit.views),
            unseen=tuple(unseen_motion(direction, space) for direction in seen.unseen),
            flags=doubts(place, others, seen, fine, within=self._grid.contains(space, place.motion)),
            algorithm=ALGORITHM,
        )

    def _search(
        self, scene: Scene, space: RigidSpace, free: Tensor
    ) -> Generator[RegistrationProgress, None, list[Place]]:
        """Climb from all starts at the coarsest resolution."""
        starts = [free @ (free.T @ start) for start in self._grid.starts(space)]
        climb = Climb(8, 0.05 * scene.pixel_mm, free)
        found: list[Place] = []
        for number, start in enumerate(starts):
            step = RegistrationProgress("search", _SEARCH_SHARE * number / len(starts), 0.0)
            place = yield from self._climb(scene, space, start, climb, step)
            if place is not None:
                found.append(place)
        return distinct(found, _SAME_COARSE_MM)[:_KEPT_STARTS]

    def _select(
        self, scene: Scene, space: RigidSpace, candidates: list[Place], free: Tensor
    ) -> Generator[RegistrationProgress, None, list[Place]]:
        """Climb from the best at the middle resolution; from the highest down."""
        climb = Climb(8, 0.05 * scene.pixel_mm, free)
        found: list[Place] = []
        for number, candidate in enumerate(candidates):
            share = _SEARCH_SHARE + (_SELECT_SHARE - _SEARCH_SHARE) * number / len(candidates)
            step = RegistrationProgress("selection", share, 0.0)
            place = yield from self._climb(scene, space, candidate.motion, climb, step)
            if place is not None:
                found.append(place)
        return distinct(found, _SAME_MM)

    def _refine(
        self, scene: Scene, space: RigidSpace, start: Tensor, free: Tensor, stage: str
    ) -> Generator[RegistrationProgress, None, Place]:
        """Climb at the finest resolution; a start within reach gives a place within reach."""
        climb = Climb(12, _TOLERANCE_PX * scene.pixel_mm, free)
        step = RegistrationProgress(stage, _SELECT_SHARE, 0.0)
        place = yield from self._climb(scene, space, start, climb, step)
        return place or Place(start, scene.fit(space, start))

    def _climb(
        self, scene: Scene, space: RigidSpace, start: Tensor, climb: Climb, step: RegistrationProgress
    ) -> Generator[RegistrationProgress, None, Place | None]:
        places = climb_within(scene, space, start, self._grid, climb)
        while True:
            try:
                place = next(places)
            except StopIteration as finished:
                last: Place | None = finished.value
                return last
            yield replace(step, similarity=place.fit.similarity)


def _check(hounsfield: NDArray[Any], frame: PatientFrame, radiographs: Sequence[Radiograph], initial: Float) -> None:
    if hounsfield.ndim != 3 or 0 in hounsfield.shape:
        raise InvalidField(f"needs shape (depth, height, width), has {hounsfield.shape}", field="estimation.shape")
    if frame.spacing_mm[2] <= 0:
        raise InvalidField("needs three spacings above 0", field="estimation.geometry")
    if max(frame.spacing_mm) > _LONGEST_VOXEL_MM or np.abs(frame.origin_mm).max() > FARTHEST_MM:
        raise InvalidField(
            f"needs spacings of at most {_LONGEST_VOXEL_MM:g} mm, within {FARTHEST_MM:g} mm of the patient's origin",
            field="estimation.geometry",
        )
    if not 1 <= len(radiographs) <= MOST_VIEWS:
        raise InvalidField(f"needs one or two, has {len(radiographs)}", field="estimation.radiographs")
    for index, radiograph in enumerate(radiographs):
        radiograph.check(f"estimation.radiographs[{index}]")
    check_pose(initial, "estimation.initial_pose")


def _space(scene: Scene, initial: Float) -> RigidSpace:
    """Motions about the middle of the body."""
    points = scene.volume.body_points_mm(5000)
    middle = points.mean(axis=0)
    radius = float(np.sqrt(np.mean(np.sum((points - middle) ** 2, axis=1))))
    pose = torch.as_tensor(initial)
    return RigidSpace(pose, pose[:3, :3] @ torch.as_tensor(middle) + pose[:3, 3], max(radius, 1.0))


def _held_direction(scene: Scene) -> Tensor | None:
    """Depth, float64 (6,), where all views look along one direction; None where they do not."""
    first = scene.views[0].viewing_direction
    if any(abs(float(first @ view.viewing_direction)) < _ALONGSIDE for view in scene.views):
        return None
    return torch.cat([torch.zeros(3, dtype=torch.float64), first])


def _same_span(first: Tensor, second: Tensor) -> bool:
    """Whether two orthonormal bases, float64 (6, n), span nearly the same space: within about 20 degrees."""
    if first.shape != second.shape:
        return False
    return float(torch.linalg.svdvals(first.T @ second).min()) > _ALONGSIDE
