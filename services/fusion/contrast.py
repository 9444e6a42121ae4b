"""How visible a target is: its contrast against what lies around it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask

# The ring of surroundings begins and ends this far outside the target; its edge is blurred in any image.
RING_BEGIN_PX = 2
RING_END_PX = 10


def contrast_to_noise(image: NDArray[np.generic], target: BoolMask, usable: BoolMask | None = None) -> float:
    """|mean in the target - mean around it| / standard deviation around it.

    Args:
        image: (height, width), any real dtype.
        target: bool (height, width).
        usable: bool (height, width), pixels that count; all where None.

    Returns:
        The ratio; infinite where the surroundings are flat and the target differs; 0 where the target or its
        surroundings have no pixels.
    """
    values = image.astype(np.float64)
    inside, around = target, surroundings(target)
    if usable is not None:
        inside, around = inside & usable, around & usable
    if not inside.any() or not around.any():
        return 0.0
    contrast, noise = abs(values[inside].mean() - values[around].mean()), values[around].std()
    if noise > 0:
        return float(contrast / noise)
    return float("inf") if contrast > 0 else 0.0


def surroundings(target: BoolMask) -> BoolMask:
    """The ring between 2 and 10 px outside the target."""
    return grown(target, RING_END_PX) & ~grown(target, RING_BEGIN_PX)


def grown(mask: BoolMask, distance_px: int) -> BoolMask:
    """Every pixel within this distance of the mask, Euclidean."""
    if not mask.any():
        return mask
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= distance_px, np.bool_)
