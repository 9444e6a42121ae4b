"""A target that must stay as visible as in the image that shows it better.

Around the target the pyramid's bands are taken from one image alone, with a soft edge that is wider in coarser bands,
so that no seam shows: Burt and Adelson, "A multiresolution spline with application to image mosaics", ACM Trans.
Graphics 2, 1983.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask
from services.fusion.contrast import RING_END_PX, contrast_to_noise, grown

Band = NDArray[np.float32]

# The coarse bands' edge is wide: the target's surroundings must lie inside of it.
_MARGIN_PX = 12
_EDGE_SIGMA_PX = 4.0


@dataclass(frozen=True, eq=False)
class Emphasis:
    """A place at which one of two images is preferred.

    Attributes:
        strength: float32 (height, width), in [0, 1]: 1 where that image is taken alone, 0 where the rule decides.
        prefers_fixed: which image.
    """

    strength: Band
    prefers_fixed: bool

    @classmethod
    def on_target(cls, target: BoolMask, fixed: NDArray[np.generic], moving: NDArray[np.generic]) -> Emphasis:
        """Prefers the image in which the target has more contrast to noise; all (height, width), on one grid."""
        place = grown(target, RING_END_PX + _MARGIN_PX).astype(np.float32)
        strength = np.asarray(cv2.GaussianBlur(place, (0, 0), _EDGE_SIGMA_PX), np.float32)
        return cls(strength, contrast_to_noise(fixed, target) >= contrast_to_noise(moving, target))

    def halved(self) -> Emphasis:
        """The same place on the pyramid's next level."""
        return Emphasis(np.asarray(cv2.pyrDown(self.strength), np.float32), self.prefers_fixed)

    def preferred(self, deserved: Band, whole: Band | float) -> Band:
        """`deserved` where the rule decides; where one image is preferred, all of the difference that makes it."""
        sign = np.float32(1 if self.prefers_fixed else -1)
        return np.asarray(deserved + self.strength * (sign * whole - deserved), np.float32)
