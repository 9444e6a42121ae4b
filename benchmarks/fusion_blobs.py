"""Bright blobs of a fused picture that neither source has."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

# What is narrower than this stands out from its surroundings; what is wider belongs to them.
SURROUNDINGS_PX = 21
# A blob may lie this far from the source's blob it stems from.
SLACK_PX = 1
SMALLEST_PX = 4
LEAST_CONTRAST = 8


def new_blobs(fused: Grey, first: Grey, second: Grey) -> int:
    """How many bright blobs of more than 3 px the fused picture has that neither source has.

    What stands out of an image is its white top-hat: the image without its opening by a disc of 21 px. A blob is new
    where the fused picture stands out by more than 8 of 255 grey levels beyond both sources within a pixel, over a
    square of 4 px. The maximum of two images has none, by the laws of openings.

    Args:
        fused: uint8 (height, width).
        first: a source, on the same grid.
        second: the other one.
    """
    known = cv2.dilate(np.maximum(_standing_out(first), _standing_out(second)), _disc(2 * SLACK_PX + 1))
    beyond = cv2.subtract(_standing_out(fused), known) > LEAST_CONTRAST
    square = np.ones((SMALLEST_PX, SMALLEST_PX), np.uint8)
    large = cv2.morphologyEx(beyond.astype(np.uint8), cv2.MORPH_OPEN, square)
    # The background counts as a component.
    return cv2.connectedComponents(large)[0] - 1


def _standing_out(image: Grey) -> Grey:
    return np.asarray(cv2.morphologyEx(image, cv2.MORPH_TOPHAT, _disc(SURROUNDINGS_PX)), np.uint8)


def _disc(diameter: int) -> Grey:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter)), np.uint8)
