"""What speaks against believing a pose."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hilum.pose import UnseenMotion
from services.fusion.pose.ascent import Place
from services.fusion.pose.observability import Observability, UnseenDirection
from services.fusion.pose.rigid import RigidSpace
from services.fusion.pose.scene import Scene

LOW_SIMILARITY = 0.45
LOW_COVERAGE = 0.4
# Another place this nearly as high as the highest, and this far from it, makes the choice between them a guess.
RIVAL_SIMILARITY, RIVAL_MM = 0.02, 5.0
# The cosine above which an unseen direction is depth, with a little of other motions.
_DEPTH = 0.5


def unseen_motion(direction: UnseenDirection, space: RigidSpace) -> UnseenMotion:
    """A direction in the six numbers as a turn and a shift."""
    turn = torch.rad2deg(space.rotation_vector(direction.motion)).tolist()
    shift = direction.motion[3:].tolist()
    return UnseenMotion((turn[0], turn[1], turn[2]), (shift[0], shift[1], shift[2]), direction.standard_error_mm)


def doubts(
    place: Place, others: Sequence[Place], seen: Observability, scene: Scene, *, within: bool
) -> tuple[str, ...]:
    """The flags of a result, sorted.

    Args:
        place: the result.
        others: where other climbs at the finest resolution ended.
        seen: what the views see at the result.
        scene: at the finest resolution.
        within: the result lies within reach of the initial pose.
    """
    flags = set()
    if not (place.settled and within):
        flags.add("NOT_CONVERGED")
    if too_unlike(place):
        flags.add("LOW_SIMILARITY")
    if min(view.coverage for view in place.fit.views) < LOW_COVERAGE:
        flags.add("LOW_OVERLAP")
    if any(rivals(place, other) for other in others):
        flags.add("STARTS_DISAGREE")
    still = torch.zeros(3, dtype=torch.float64)
    depths = [torch.cat([still, view.viewing_direction]) for view in scene.views]
    if any(seen.hides(depth) for depth in depths):
        flags.add("DEPTH_UNOBSERVED")
    if any(all(abs(float(unseen.motion @ depth)) < _DEPTH for depth in depths) for unseen in seen.unseen):
        flags.add("MOTION_UNOBSERVED")
    return tuple(sorted(flags))


def too_unlike(place: Place) -> bool:
    """Whether a view does not look like the projection: as a rule the climb went astray, or it is somebody else."""
    return min(view.similarity for view in place.fit.views) < LOW_SIMILARITY


def rivals(best: Place, other: Place) -> bool:
    """Whether another place is nearly as high as the best, and elsewhere."""
    apart = float(torch.linalg.norm(best.motion - other.motion))
    return apart > RIVAL_MM and other.fit.similarity > best.fit.similarity - RIVAL_SIMILARITY
