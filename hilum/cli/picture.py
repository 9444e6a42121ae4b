"""Grey pictures with a band of words below them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hilum.cli.console import NOT_FOR_DIAGNOSIS

_TEXT_PX = 12
_LINE_PX = 16
_MARGIN_PX = 4


def write_picture(path: Path, grey: NDArray[np.uint8], words: Sequence[str] = ()) -> None:
    """Writes a PNG, or what else the path's suffix says, with a line per word and "not for diagnosis" below it.

    Args:
        path: Where to.
        grey: (height, width).
        words: Shown below the picture, such as the flags of a transform.

    Raises:
        OSError: The file cannot be written.
    """
    height, width = grey.shape
    font = ImageFont.load_default(_TEXT_PX)
    lines = [*words, NOT_FOR_DIAGNOSIS]
    longest = max(int(font.getlength(line)) for line in lines) + 2 * _MARGIN_PX
    band = _LINE_PX * len(lines) + 2 * _MARGIN_PX
    page = Image.new("L", (max(width, longest), height + band))
    page.paste(Image.fromarray(grey), (0, 0))
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((_MARGIN_PX, height + _MARGIN_PX + number * _LINE_PX), line, fill=255, font=font)
    page.save(path)
