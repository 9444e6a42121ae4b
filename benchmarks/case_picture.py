"""A picture of one case: checkerboards before and after, outlines of targets, and the grid that bends with the body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.registrars.registrar import Places, pixel_places
from services.fusion.registration import RegistrationImage

_TILE_PX = 32
_GRID_PX = 12
_ZOOM = 2
_STRIP_PX = 22
_WHITE, _FIXED_COLOUR, _MOVING_COLOUR = (255, 255, 255), (80, 220, 80), (60, 160, 255)
_Grey = NDArray[np.uint8]
Picture = NDArray[np.uint8]
"""uint8 (height, width, 3), blue, green and red."""


def case_picture(fixed: RegistrationImage, moving: RegistrationImage, places: Places, caption: str = "") -> Picture:
    """Checkerboard before, checkerboard after, and the moving image with the fixed image's grid lines drawn on it.

    Args:
        fixed: the fixed image.
        moving: the moving image.
        places: where each fixed pixel lies on the moving image, (height, width, 2).
        caption: written below.
    """
    grid = _labelled(_coloured(_grey(moving)), "grid of the fixed image", _lines(places))
    return _side_by_side([*_checkerboards(fixed, moving, {"after": places}), grid], caption)


def compared_picture(
    fixed: RegistrationImage, moving: RegistrationImage, ways: Mapping[str, Places], caption: str = ""
) -> Picture:
    """Checkerboard before, and one for each of several answers under its name; at most four side by side.

    Where the images have targets, their outlines are drawn: green of the fixed image, orange of the moving one.
    """
    return _side_by_side(_checkerboards(fixed, moving, ways), caption)


def said(errors_px: NDArray[np.float64]) -> str:
    """Mean and 95th percentile, as a caption says them."""
    return f"mean {errors_px.mean():.2f}, p95 {np.percentile(errors_px, 95):.2f} px"


def save_picture(folder: Path, name: str, picture: Picture) -> None:
    """Write a PNG file; the folder is made, and blanks, commas and slashes of the name become hyphens."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = name.replace(", ", "-").replace(" ", "-").replace("/", "-")
    cv2.imwrite(str(folder / f"{plain}.png"), picture)


def _checkerboards(
    fixed_image: RegistrationImage, moving_image: RegistrationImage, ways: Mapping[str, Places]
) -> list[Picture]:
    fixed, moving = _grey(fixed_image), _grey(moving_image)
    rows, columns = np.indices(fixed.shape) // _TILE_PX
    odd = (rows + columns) % 2 > 0
    boards = []
    for name, where in ({"before": pixel_places(fixed_image.size)} | dict(ways)).items():
        board = np.where(odd, _sampled(moving, where), fixed).astype(np.uint8)
        coloured = _coloured(board)
        for colour, masks in (
            (_FIXED_COLOUR, fixed_image.targets),
            (_MOVING_COLOUR, [_sampled(mask.astype(np.uint8), where) for mask in moving_image.targets]),
        ):
            for mask in masks:
                outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
                cv2.drawContours(coloured, outlines, -1, colour, 1)
        boards.append(_labelled(coloured, name))
    return boards


def _coloured(grey: _Grey) -> Picture:
    return np.repeat(grey[..., None], 3, axis=2)


def _sampled(image: _Grey, where: Places) -> _Grey:
    return np.asarray(ndimage.map_coordinates(image, (where[..., 1], where[..., 0]), order=1, cval=0), np.uint8)


def _lines(places: Places) -> list[NDArray[np.int32]]:
    """The fixed image's grid lines in the moving image, zoomed."""
    zoomed = np.rint((places + 0.5) * _ZOOM - 0.5).astype(np.int32)
    rows = [zoomed[row] for row in range(0, places.shape[0], _GRID_PX)]
    return rows + [np.ascontiguousarray(zoomed[:, column]) for column in range(0, places.shape[1], _GRID_PX)]


def _labelled(picture: Picture, label: str, lines: Sequence[NDArray[np.int32]] = ()) -> Picture:
    large = np.asarray(cv2.resize(picture, None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_LINEAR), np.uint8)
    for line in lines:
        cv2.polylines(large, [line], isClosed=False, color=_WHITE, thickness=1, lineType=cv2.LINE_AA)
    _write(large, label, 14)
    return large


def _side_by_side(pictures: Sequence[Picture], caption: str, across: int = 4) -> Picture:
    tallest, widest = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    padded = [
        np.pad(picture, ((0, tallest - picture.shape[0]), (0, widest - picture.shape[1]), (0, 0)))
        for picture in pictures
    ]
    across = min(across, len(padded))
    padded += [np.zeros_like(padded[0])] * (-len(padded) % across)
    rows = [np.hstack(padded[first : first + across]) for first in range(0, len(padded), across)]
    strip = np.zeros((_STRIP_PX, across * widest, 3), np.uint8)
    _write(strip, f"{caption}; not for diagnosis" if caption else "not for diagnosis", 15)
    return np.vstack([*rows, strip])


def _write(picture: Picture, text: str, baseline: int) -> None:
    cv2.putText(picture, text, (6, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _WHITE, 1, cv2.LINE_AA)


def _grey(image: RegistrationImage) -> _Grey:
    low, high = np.percentile(image.pixels[image.usable], (1, 99.5))
    shown = np.where(image.usable, (image.pixels - low) / (high - low) * 255, 0)
    return np.asarray(np.clip(shown, 0, 255), np.uint8)
