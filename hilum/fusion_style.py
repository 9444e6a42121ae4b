"""How two registered images are shown as one: the styles of FuseImages and their numbers.

Every number is checked where it is made, so that client, service and fake refuse the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from hilum.errors import InvalidField

MAX_LEVELS = 6
MAX_WINDOW_PX = 15
MAX_TILE_PX = 4096
MAX_FIDELITY = 1000.0
MAX_ENERGY_RATIO = 100.0


class BaseRule(Enum):
    """How the base bands, what is left when all details are taken out, are combined; values are those of hilum.v1."""

    MAXIMUM = 1
    AVERAGE = 2
    LOCAL_ENERGY = 3


@dataclass(frozen=True)
class PyramidFusion:
    """One grey picture with the details of both, by a Laplacian pyramid (docs/concepts/fusion.md).

    Attributes:
        levels: Detail bands above the base, 1 to 6; fewer are made of an image that cannot be halved so often.
        base_rule: LOCAL_ENERGY: of what stands out from a wide mean, the mean weighted by local energy; of the wide
            means, the mean. AVERAGE: the mean. MAXIMUM: the larger one.
        window_px: Side of the window over which energy and match are taken, odd, 1 to 15; binomial weights.
        match_threshold: In [-1, 1). Where the details' match measure is no larger, the stronger detail is taken alone;
            up to a match of 1 it turns into the mean.
        energy_ratio: At least 1, at most 100. The stronger detail has this many times the other's local energy; nearer
            to 1 it turns into the mean, so that no edge appears where the stronger image changes. Above 1 the choice
            changes slowly from place to place, well matching details are mixed more evenly than the threshold alone
            says, and what is mixed of unrelated details keeps their energy. 1: none of this, the published rule.
        noise_floor: In [0, 1], share of the grey range: details much weaker than it are averaged, never chosen.
        background: Share of the grey range, in [0, 1]: where both images are no brighter, nothing is drawn into them.
        gradient_fidelity: Rebuilds the picture from both images' gradients, weighted by their energy; the smaller, the
            wider structures are rebuilt, at 1 only the finest. Above 0, at most 1000; None: not rebuilt.
    """

    levels: int = 3
    base_rule: BaseRule = BaseRule.LOCAL_ENERGY
    window_px: int = 5
    match_threshold: float = 0.3
    energy_ratio: float = 2.0
    noise_floor: float = 0.04
    background: float = 0.0
    gradient_fidelity: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= MAX_LEVELS:
            raise InvalidField(f"must lie between 1 and {MAX_LEVELS}", field="levels")
        if not 1 <= self.window_px <= MAX_WINDOW_PX or self.window_px % 2 == 0:
            raise InvalidField(f"must be odd and lie between 1 and {MAX_WINDOW_PX}", field="window_px")
        if not -1 <= self.match_threshold < 1:
            raise InvalidField("must lie in [-1, 1)", field="match_threshold")
        if not 1 <= self.energy_ratio <= MAX_ENERGY_RATIO:
            raise InvalidField(f"must lie between 1 and {MAX_ENERGY_RATIO:g}", field="energy_ratio")
        for name in ("noise_floor", "background"):
            _require_share(getattr(self, name), name)
        fidelity = self.gradient_fidelity
        if fidelity is not None and not (math.isfinite(fidelity) and 0 < fidelity <= MAX_FIDELITY):
            raise InvalidField(f"must be above 0 and at most {MAX_FIDELITY:g}", field="gradient_fidelity")


@dataclass(frozen=True)
class ColourOverlay:
    """The fixed image in grey under the moving image in amber; `opacity`, in [0, 1], is that of its white."""

    opacity: float = 0.5

    def __post_init__(self) -> None:
        _require_share(self.opacity, "opacity")


@dataclass(frozen=True)
class AlphaBlend:
    """The weighted mean of both; `opacity`, in [0, 1], is the moving image's weight."""

    opacity: float = 0.5

    def __post_init__(self) -> None:
        _require_share(self.opacity, "opacity")


@dataclass(frozen=True)
class Checkerboard:
    """Tiles of both in turn, so that outlines run on where they agree.

    Attributes:
        tile_px: Side of a tile, 1 to 4096; None for an eighth of the longer side.
    """

    tile_px: int | None = None

    def __post_init__(self) -> None:
        if self.tile_px is not None and not 1 <= self.tile_px <= MAX_TILE_PX:
            raise InvalidField(f"must lie between 1 and {MAX_TILE_PX}", field="tile_px")


@dataclass(frozen=True)
class Flicker:
    """Two frames, fixed and moving, to be shown in turn: what moves between them is not aligned."""


FusionStyle: TypeAlias = PyramidFusion | ColourOverlay | AlphaBlend | Checkerboard | Flicker


def _require_share(value: float, name: str) -> None:
    if not 0 <= value <= 1:
        raise InvalidField("must lie in [0, 1]", field=name)
