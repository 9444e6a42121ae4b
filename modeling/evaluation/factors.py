"""What makes a target hard: size, contrast, aspect ratio and complexity, as BreastSAM asks (arXiv:2305.12447).

Definitions are ours where the paper gives none; all need no model.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask

NAMES = ("size", "contrast", "aspect_ratio", "complexity")
# Contrast is against the pixels around a target, not against the whole image.
RING_PX = 10


def factors(image: NDArray[np.uint8], mask: BoolMask) -> dict[str, float]:
    """The four factors of one target.

    Args:
        image: (height, width) or (height, width, 3).
        mask: (height, width), not empty.

    Returns:
        size: share of the image's pixels. contrast: |mean inside - mean of a 10 px ring around| / 255, of grey levels.
        aspect_ratio: longer by shorter side of the smallest rotated rectangle, at least 1. complexity: perimeter^2 /
        (4 pi area) of all outlines, about 1.1 for a disc of pixels, more for what is ragged, long
        or in pieces.
    """
    grey = image if image.ndim == 2 else image.mean(axis=2)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RING_PX + 1, 2 * RING_PX + 1))
    ring = cv2.dilate(mask.astype(np.uint8), kernel).astype(np.bool_) & ~mask
    contrast = abs(float(grey[mask].mean()) - float(grey[ring].mean())) / 255 if ring.any() else math.nan
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    _, sides, _ = cv2.minAreaRect(np.argwhere(mask).astype(np.float32))
    # A rectangle through pixel centres is one pixel short on each side; so is an outline, by half a pixel all around.
    long, short = max(sides) + 1, min(sides) + 1
    area = int(np.count_nonzero(mask))
    perimeter = sum(cv2.arcLength(outline, True) for outline in outlines) + math.pi
    return {
        "size": area / mask.size,
        "contrast": contrast,
        "aspect_ratio": long / short,
        "complexity": perimeter**2 / (4 * math.pi * area),
    }
