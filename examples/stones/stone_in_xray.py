"""The same stone prompted in the X-ray itself: what the decoder makes of it there, without the CT.

A box and a click, each as a hurried hand places them, on the simulated X-ray. A prompt that is made from the truth says
by itself where the stone is, so two things stand beside each mask: how far off the prompt alone is, and what the same
prompt gives on an X-ray of the same body without the stone, where there is nothing to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from examples.demo.accuracy import dice
from examples.demo.known_motion import KnownMotion
from examples.demo.simulated_xray import simulate_xray
from examples.demo.truth import Mask
from examples.stones.case import Case
from examples.stones.found_stone import MISSED_DICE
from examples.stones.prompts import inner_click, loose_box
from examples.stones.stone import Float
from hilum import Box, Client, Image, PercentileRange, Point, Prompt

# Each edge of the box misses by up to this.
BOX_JITTER_MM: Final = 3.0
# A ray that meets less of the stone does not belong to its outline.
_LEAST_PATH_MM: Final = 1.0
# Wide: what a stone is seen against.
_RING_MM: Final = 8.0
_RING_GAP_PX: Final = 2
# Grey levels from what is encoded, the part around the stone. Chosen on seeds 100 to 105: the X-ray's own window lost
# more clicks.
_MAPPING: Final = PercentileRange()


@dataclass(frozen=True, eq=False)
class StoneInXray:
    """A stone's shadow and the prompts that mark it.

    Attributes:
        case: with the X-ray and the stone's true place in it.
        outline: where rays meet at least 1 mm of the stone: bool, the grid's shape.
        box: around the outline, each edge off by up to 3 mm.
        click: on the outline's inner half.
        without: an X-ray of the same body, motion and noise without the stone.
    """

    case: Case
    outline: Mask
    box: Box
    click: Point
    without: Image

    @classmethod
    def of(cls, case: Case) -> StoneInXray:
        """Cast the shadow, and draw the prompts by the case's seed."""
        patient, grid = case.patient, case.patient.grid
        motion = KnownMotion.from_seed(case.seed)
        path_mm = np.zeros(patient.volume.hounsfield.shape[1:])
        path_mm[case.placed.voxels[1:]] = case.placed.share.sum(axis=0) * patient.volume.spacing_mm[0]
        outline = np.asarray(grid.resample(path_mm, motion.moving_to_fixed(grid)) >= _LEAST_PATH_MM, np.bool_)
        random = np.random.default_rng((case.seed, 4))
        box = loose_box(outline, random, BOX_JITTER_MM / grid.spacing_mm)
        without = simulate_xray(patient.volume, patient.paths, grid, motion, case.seed).image
        return cls(case, outline, box, inner_click(outline, random), without)

    @property
    def contrast(self) -> float:
        """Contrast to noise: brighter than a ring of 8 mm around it by how many of the ring's standard deviations."""
        pixels = self.case.xray.pixels.astype(np.float64)
        near = ndimage.binary_dilation(self.outline, iterations=round(_RING_MM / self.case.patient.grid.spacing_mm))
        ring = near & ~ndimage.binary_dilation(self.outline, iterations=_RING_GAP_PX)
        ring &= pixels != (self.case.xray.padding_value or 0)
        return float((pixels[self.outline].mean() - pixels[ring].mean()) / pixels[ring].std())


@dataclass(frozen=True, eq=False)
class XrayMask:
    """What the decoder answered to one prompt in the X-ray.

    Attributes:
        prompt_px: (2,), the prompt's own middle.
        mask: bool, the grid's shape; may be empty.
        without: what the same prompt gave where there is no stone.
    """

    stone: StoneInXray
    prompt_px: Float
    mask: Mask
    without: Mask

    @classmethod
    def from_box(cls, client: Client, stone: StoneInXray) -> XrayMask:
        """Ask by the box."""
        box = stone.box
        middle = np.array([box.x_min + box.x_max, box.y_min + box.y_max]) / 2
        return cls._asked(client, stone, Prompt(box=box), middle)

    @classmethod
    def from_click(cls, client: Client, stone: StoneInXray) -> XrayMask:
        """Ask by the click."""
        return cls._asked(client, stone, Prompt((stone.click,)), np.array([stone.click.x, stone.click.y]))

    @classmethod
    def _asked(cls, client: Client, stone: StoneInXray, prompt: Prompt, middle: Float) -> XrayMask:
        images = (stone.case.xray, stone.without)
        masks = (client.predict(image, [prompt], mapping=_MAPPING, region="auto").best().mask for image in images)
        return cls(stone, middle, *masks)

    @property
    def dice(self) -> float:
        """Of the mask and the stone's shadow."""
        return dice(self.mask, self.stone.outline)

    @property
    def missed(self) -> bool:
        """Whether the prompt did not find the stone."""
        return self.dice < MISSED_DICE

    @property
    def dice_without(self) -> float:
        """Of the answer where there is no stone, and the shadow that it would have: what the prompt gives away."""
        return dice(self.without, self.stone.outline)

    @property
    def centre_px(self) -> Float | None:
        """(2,), the mask's centroid; None where it is empty."""
        return np.argwhere(self.mask).mean(axis=0)[::-1] if self.mask.any() else None

    @property
    def error_mm(self) -> float:
        """Of the mask's centroid; not a number where the mask is empty."""
        return self.distance_mm(self.stone.case.xray_px)

    @property
    def prompt_mm(self) -> float:
        """Of the prompt's own middle: the error without a decoder."""
        case = self.stone.case
        return float(np.linalg.norm(self.prompt_px - case.xray_px)) * case.patient.grid.spacing_mm

    def distance_mm(self, pixel: Float | None) -> float:
        """From the mask's centroid to a place in the X-ray; not a number where either is missing."""
        if pixel is None or self.centre_px is None:
            return float("nan")
        return float(np.linalg.norm(self.centre_px - pixel)) * self.stone.case.patient.grid.spacing_mm
