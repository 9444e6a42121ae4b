"""How well a registration fits: figures that are reported, none of which drives it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hilum.types import BoolMask, Pixels


def target_dice(fixed: BoolMask, moving: BoolMask) -> float:
    """Dice coefficient of two masks on one grid; 1 when both are empty."""
    total = int(fixed.sum()) + int(moving.sum())
    return 2.0 * int((fixed & moving).sum()) / total if total else 1.0


def body_mask(pixels: Pixels, usable: BoolMask) -> BoolMask:
    """Where the image shows something: brighter than half of Otsu's threshold, holes filled.

    Args:
        pixels: (height, width), any real dtype.
        usable: bool (height, width), pixels that count; at least one.

    Returns:
        bool (height, width), within `usable`. An image without dark background is all body.
    """
    low, high = np.percentile(pixels[usable], (0.5, 99.5))
    scaled = np.clip((np.where(usable, pixels, low).astype(np.float64) - low) / max(high - low, 1e-12), 0, 1)
    grey = np.rint(scaled * 255).astype(np.uint8)
    threshold, _ = cv2.threshold(grey[usable][None], 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return np.asarray(ndimage.binary_fill_holes(grey > threshold / 2) & usable, np.bool_)


def overlap_fraction(body: BoolMask, covered: BoolMask) -> float:
    """Share of the fixed image's body that the moving image covers; 0 without a body."""
    return float((body & covered).sum() / max(int(body.sum()), 1))


def match_loss(fixed: Pixels, moving: Pixels, usable: BoolMask) -> float:
    """Match_Loss: mean over N pixels of | |Sobel(fixed)| - |Sobel(moving)| |, lower is better.

    Both images are scaled so that their 1st and 99th percentile over the usable pixels lie at 0 and 1; the Sobel
    kernels are the usual 3x3 ones, not normalised. Pixels next to unusable ones do not count.

    It is reported, never minimised: edge strength is not shared between modalities, and driving a registration
    with it made alignments worse.

    Args:
        fixed: (height, width).
        moving: (height, width), on the fixed grid.
        usable: where both have pixels.

    Returns:
        The loss; 0 where no pixel counts.
    """
    inner = cv2.erode(usable.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    if not inner.any():
        return 0.0
    difference = np.abs(_sobel(fixed, usable) - _sobel(moving, usable))
    return float(difference[inner].mean())


def _sobel(pixels: Pixels, usable: BoolMask) -> NDArray[np.float32]:
    low, high = np.percentile(pixels[usable], (1, 99))
    filled = np.where(usable, pixels, low)
    scaled = np.clip((filled.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
    return np.asarray(np.hypot(cv2.Sobel(scaled, cv2.CV_32F, 1, 0), cv2.Sobel(scaled, cv2.CV_32F, 0, 1)), np.float32)
