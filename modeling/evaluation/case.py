"""A target in its image as an evaluation asks for it, and one answer to be measured."""

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hilum.types import BoolMask, Box, Point, Prompt
from modeling.evaluation import geometry
from modeling.evaluation.factors import factors
from modeling.evaluation.measures import Place, place
from modeling.sample import Sample, Target

SEED = 20241
JITTER_PX = 5.0
RANDOM_CLICKS = 5
MINIMUM_AREA_PX = 20


@dataclass(frozen=True, eq=False)
class Case:
    """A target in its image.

    Attributes:
        sample: the image.
        number: which of its targets.
        fixed_side: side in pixels of the baseline's box at a click.
    """

    sample: Sample
    number: int
    fixed_side: float

    @property
    def target(self) -> Target:
        """What is to be found."""
        return self.sample.targets[self.number]

    @cached_property
    def small(self) -> bool:
        """Whether the target's mask is too small for measures of overlap."""
        mask = self.target.mask
        return mask is not None and int(np.count_nonzero(mask)) < MINIMUM_AREA_PX

    @cached_property
    def factors(self) -> dict[str, float]:
        """What makes the target hard; empty where only its box is known."""
        return {} if self.target.mask is None else factors(self.sample.image, self.target.mask)

    @cached_property
    def place(self) -> Place | None:
        """Where the target lies, in mm where the spacing is known; None where only its box is known."""
        mask = self.target.mask
        return None if mask is None else place(mask, self.sample.spacing_mm or (1.0, 1.0))

    @property
    def mask(self) -> BoolMask:
        """The target's mask; where only a box is known, that box filled."""
        mask = self.target.mask
        return geometry.filled(self.target.box, self.sample.size) if mask is None else mask

    def random(self, protocol: str) -> np.random.Generator:
        """The protocol's own source of chance on this target."""
        name = f"{self.sample.source}/{self.sample.name}/{self.number}/{protocol}"
        return np.random.default_rng([SEED, zlib.crc32(name.encode())])

    def random_clicks(self) -> list[Point]:
        """Five pixels of the target, without repetition where it has as many."""
        pixels = np.argwhere(self.mask)
        chosen = self.random("click").choice(len(pixels), RANDOM_CLICKS, replace=len(pixels) < RANDOM_CLICKS)
        return [Point(float(x), float(y)) for y, x in pixels[chosen]]

    def jittered_box(self) -> Box:
        """The box, each edge moved by up to 5 px."""
        return geometry.jittered(self.target.box, JITTER_PX, self.sample.size, self.random("box jittered"))


@dataclass(frozen=True, eq=False)
class Trial:
    """One answer to be measured.

    Attributes:
        protocol: what it answers.
        mask: (height, width) bool.
        prompt: what was asked.
        score: the model's own estimate of the mask's IoU; NaN where no model answered.
        clicks: how many clicks the first mask of IoU .85 and .90 took, 20 where none did; None outside click series.
    """

    protocol: str
    mask: BoolMask
    prompt: Prompt
    score: float = float("nan")
    clicks: tuple[int, int] | None = None
