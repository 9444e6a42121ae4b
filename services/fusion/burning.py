"""Words drawn into a picture, where they cannot be lost."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE = (255, 255, 255)


def burn(picture: NDArray[np.uint8], words: Sequence[str]) -> NDArray[np.uint8]:
    """Returns the picture with each word on a line of its own in the lower left corner, white on a black band.

    Args:
        picture: uint8 (height, width), or (height, width, 3) for RGB.
        words: Such as the names of a transform's flags; none leaves the picture as it is.
    """
    if not words:
        return picture
    burned = picture.copy()
    height, width = burned.shape[:2]
    longest = max(cv2.getTextSize(word, _FONT, 1.0, 1)[0][0] for word in words)
    scale = min(1.0, max(0.3, height / 800), (width - 4) / longest)
    line = max(6, round(34 * scale))
    top = max(0, height - line * len(words) - 4)
    burned[top:] = 0
    for index, word in enumerate(words):
        position = (2, top + line * (index + 1) - line // 4)
        cv2.putText(burned, word, position, _FONT, scale, _WHITE, max(1, round(2 * scale)), cv2.LINE_AA)
    return burned
