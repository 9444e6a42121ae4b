"""Pictures, in true proportions and with the patient's right marked, above a band of words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hilum.cli.console import NOT_FOR_DIAGNOSIS
from hilum.geometry import ImageGeometry
from hilum.results.canvas import right_edge

Grey = NDArray[np.uint8]

_TEXT_PX = 12
_LINE_PX = 16
_MARK_PX = 24
_MARGIN_PX = 4
_GAP_PX = 8
_SHORT_SIDE_PX = 384
_FRAME_MS = 500
_WHITE, _BLACK = 255, 0


def write_picture(
    path: Path, pictures: Sequence[Grey], words: Sequence[str] = (), geometry: ImageGeometry | None = None
) -> None:
    """Writes a PNG of pictures side by side, with a line per word and "not for diagnosis" below them.

    Args:
        path: Where to.
        pictures: (height, width) each, or (height, width, 3) for RGB, all of one grid.
        words: Shown below the pictures, such as the flags of a transform.
        geometry: Of the grid: pixels are drawn square, and an R stands where the patient's right is, where known.
            A picture with a side below 384 px is enlarged.

    Raises:
        OSError: The file cannot be written.
    """
    _page(pictures, words, [geometry or ImageGeometry()] * len(pictures)).save(path, "PNG")


def write_planes(
    path: Path, pictures: Sequence[Grey], geometries: Sequence[ImageGeometry], words: Sequence[str] = ()
) -> None:
    """Writes a PNG as `write_picture` does, of pictures that each have a grid of their own.

    Raises:
        OSError: The file cannot be written.
    """
    _page(pictures, words, geometries).save(path, "PNG")


def write_flicker(
    path: Path, frames: Sequence[Grey], words: Sequence[str] = (), geometry: ImageGeometry | None = None
) -> None:
    """Writes an animated GIF that shows the frames in turn, twice a second each, for ever.

    Args:
        path: Where to.
        frames: (height, width) each, of one grid.
        words: As in `write_picture`.
        geometry: As in `write_picture`.

    Raises:
        OSError: The file cannot be written.
    """
    first, *others = (_page([frame], words, [geometry or ImageGeometry()]) for frame in frames)
    first.save(path, "GIF", save_all=True, append_images=others, duration=_FRAME_MS, loop=0)


def _page(pictures: Sequence[Grey], words: Sequence[str], geometries: Sequence[ImageGeometry]) -> Image.Image:
    drawn = [
        _marked(_squared(picture, geometry.pixel_aspect), geometry)
        for picture, geometry in zip(pictures, geometries, strict=True)
    ]
    font = ImageFont.load_default(_TEXT_PX)
    lines = [*words, NOT_FOR_DIAGNOSIS]
    width = sum(picture.width for picture in drawn) + _GAP_PX * (len(drawn) - 1)
    longest = max(int(font.getlength(line)) for line in lines) + 2 * _MARGIN_PX
    height = max(picture.height for picture in drawn)
    size = max(width, longest), height + _LINE_PX * len(lines) + 2 * _MARGIN_PX
    page = Image.new("RGB" if any(picture.mode == "RGB" for picture in drawn) else "L", size)
    left = 0
    for picture in drawn:
        page.paste(picture, (left, 0))
        left += picture.width + _GAP_PX
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((_MARGIN_PX, height + _MARGIN_PX + number * _LINE_PX), line, fill=_white(page), font=font)
    return page


def _white(picture: Image.Image) -> int | tuple[int, int, int]:
    return (_WHITE, _WHITE, _WHITE) if picture.mode == "RGB" else _WHITE


def _squared(picture: Grey, aspect: float) -> Image.Image:
    """The picture with square pixels, none of them left out, small ones enlarged until people can see them."""
    height, width = picture.shape[:2]
    scale = max(1.0, 1 / aspect, _SHORT_SIDE_PX / min(height * aspect, width))
    size = (round(width * scale), round(height * scale * aspect))
    return Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)


def _marked(picture: Image.Image, geometry: ImageGeometry) -> Image.Image:
    width, height = picture.size
    places = {
        "left": ((_MARGIN_PX, height / 2), "lm"),
        "right": ((width - _MARGIN_PX, height / 2), "rm"),
        "top": ((width / 2, _MARGIN_PX), "mt"),
        "bottom": ((width / 2, height - _MARGIN_PX), "mb"),
    }
    edge = right_edge(geometry)
    if edge:
        place, anchor = places[edge]
        font = ImageFont.load_default(_MARK_PX)
        draw = ImageDraw.Draw(picture)
        draw.text(place, "R", fill=_white(picture), font=font, anchor=anchor, stroke_width=2, stroke_fill=_BLACK)
    return picture
