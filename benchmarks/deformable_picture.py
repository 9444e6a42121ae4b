"""A picture of one registration: checkerboards before and after, and the grid that bends with the body."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hilum.warp import Warp
from services.fusion.registration import RegistrationImage, RegistrationOutcome

_TILE_PX = 32
_GRID_PX = 12
_ZOOM = 2
_GREY = NDArray[np.uint8]


def case_picture(
    fixed_image: RegistrationImage, moving_image: RegistrationImage, outcome: RegistrationOutcome
) -> _GREY:
    """Checkerboard before, checkerboard after, and the moving image with the fixed image's grid lines drawn on it."""
    field = outcome.field.displacements if outcome.field is not None else None
    height, width = fixed_image.size
    y, x = np.mgrid[:height, :width].astype(np.float64)
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    places = Warp(outcome.fixed_to_moving, field).apply(pixels).reshape(height, width, 2)
    fixed, moving = _grey(fixed_image.pixels), _grey(moving_image.pixels)
    rows, columns = np.indices((height, width)) // _TILE_PX
    odd = (rows + columns) % 2 > 0
    boards = []
    for name, where in (("before", np.stack([x, y], axis=-1)), ("after", places)):
        sampled = ndimage.map_coordinates(moving, (where[..., 1], where[..., 0]), order=1, cval=0)
        boards.append(_labelled(np.where(odd, sampled, fixed).astype(np.uint8), name))
    pictures = [*boards, _labelled(moving, "grid of the fixed image", _lines(places))]
    tallest = max(picture.shape[0] for picture in pictures)
    return np.hstack([np.pad(picture, ((0, tallest - picture.shape[0]), (0, 0))) for picture in pictures])


def _lines(places: NDArray[np.float64]) -> list[NDArray[np.int32]]:
    """The fixed image's grid lines in the moving image, zoomed."""
    zoomed = np.rint((places + 0.5) * _ZOOM - 0.5).astype(np.int32)
    rows = [zoomed[row] for row in range(0, places.shape[0], _GRID_PX)]
    return rows + [np.ascontiguousarray(zoomed[:, column]) for column in range(0, places.shape[1], _GRID_PX)]


def _labelled(picture: _GREY, label: str, lines: list[NDArray[np.int32]] | None = None) -> _GREY:
    large = cv2.resize(picture, None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_LINEAR)
    for line in lines or ():
        cv2.polylines(large, [line], isClosed=False, color=255, thickness=1, lineType=cv2.LINE_AA)
    cv2.putText(large, f"{label}; not for diagnosis", (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 255, 1, cv2.LINE_AA)
    return np.asarray(large, np.uint8)


def _grey(pixels: NDArray[np.floating]) -> _GREY:
    low, high = np.percentile(pixels, (1, 99.5))
    return np.asarray(np.clip((pixels - low) / (high - low) * 255, 0, 255), np.uint8)
