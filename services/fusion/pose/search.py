"""Where climbs begin: turns about the initial pose, climbed at the coarsest resolution."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from services.fusion.pose.ascent import Climb, Place, ascend
from services.fusion.pose.rigid import RigidSpace
from services.fusion.pose.scene import Scene


@dataclass(frozen=True)
class StartGrid:
    """Which starts are tried, and how far from the initial pose a result may lie.

    Attributes:
        turns_deg: tried about each of the three axes, in all combinations. Shifts need no starts of their own: at the
            coarsest resolution a climb finds them.
        reach_deg: farthest turn that is believed.
        reach_mm: farthest shift that is believed.
    """

    turns_deg: tuple[float, ...] = (-8.0, 0.0, 8.0)
    reach_deg: float = 25.0
    reach_mm: float = 60.0

    def starts(self, space: RigidSpace) -> Iterator[Tensor]:
        """Yield the starts, float64 (6,), the initial pose among them."""
        for turns in itertools.product(self.turns_deg, repeat=3):
            turn = torch.deg2rad(torch.tensor(turns, dtype=torch.float64)) * space.radius_mm
            yield torch.cat([turn, torch.zeros(3, dtype=torch.float64)])

    def contains(self, space: RigidSpace, motion: Tensor) -> bool:
        """Whether a motion lies within reach."""
        turn = torch.rad2deg(torch.linalg.norm(space.rotation_vector(motion)))
        return float(turn) <= self.reach_deg and float(torch.linalg.norm(motion[3:])) <= self.reach_mm


def climb_within(
    scene: Scene, space: RigidSpace, start: Tensor, grid: StartGrid, climb: Climb
) -> Generator[Place, None, Place | None]:
    """Yield places; return where the climb ends, or the last place within reach; None where it begins beyond."""
    last = None
    for place in ascend(scene, space, start, climb):
        if not grid.contains(space, place.motion):
            break
        last = place
        yield place
    return last


def distinct(places: Sequence[Place], apart_mm: float) -> list[Place]:
    """The places from the highest down, without those that lie close to a higher one."""
    kept: list[Place] = []
    for place in sorted(places, key=lambda candidate: candidate.fit.similarity, reverse=True):
        if all(float(torch.linalg.norm(place.motion - other.motion)) > apart_mm for other in kept):
            kept.append(place)
    return kept
