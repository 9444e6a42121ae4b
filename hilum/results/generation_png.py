"""Everything that was found in an image as a picture. Needs the extra `images`."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.extras import extra
from hilum.generation import GeneratedMask, Generation
from hilum.masks import outline
from hilum.results.canvas import Canvas
from hilum.results.generation import labels_of, largest_first
from hilum.types import Image, IntensityMapping

with extra("images"):
    from PIL import Image as PillowImage

_FILL = 0.35
# Steps of the golden ratio never come back to a hue, and keep neighbours in number far apart.
_HUE_STEP = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class _Grid:
    """For every row and column of the picture, the image's row and column under it."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]

    @classmethod
    def of(cls, canvas: Canvas) -> _Grid:
        width, height = canvas.picture.size
        rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
        return cls((rows / canvas.y_scale).astype(np.intp), (columns / canvas.x_scale).astype(np.intp))


def write_generation_png(
    path: str | os.PathLike[str], image: Image, generation: Generation, *, mapping: IntensityMapping | None = None
) -> None:
    """Writes the image with every mask in a colour of its own: filled translucently, and outlined.

    Where masks lie on one another the smallest fills, and all outlines are seen. "not for diagnosis" is burned in,
    "simulated" where the image is, and an R where the patient's right side is, where that is known. Pixels are drawn
    square; images with a shorter side below 512 px are enlarged.

    Args:
        path: Of the PNG file.
        image: The image that was searched.
        generation: What `generate_masks` returned for it.
        mapping: The one that was used; the image's own default where None.

    Raises:
        InvalidField: Masks do not fit the image.
        InvalidTensor: Identity mapping of pixels that are not uint8.
    """
    masks = largest_first(image, generation)
    canvas = Canvas.of(image, mapping)
    canvas.picture.paste(PillowImage.fromarray(_painted(canvas, image.size, masks)))
    canvas.mark_right(image.geometry)
    canvas.note([f"{len(masks)} mask{'' if len(masks) == 1 else 's'}"], simulated=image.source.simulated)
    canvas.picture.save(path, "PNG")


def _painted(canvas: Canvas, size: tuple[int, int], masks: Sequence[GeneratedMask]) -> NDArray[np.uint8]:
    grid = _Grid.of(canvas)
    colours = np.array([(0, 0, 0), *(_colour(number) for number in range(len(masks)))], np.uint8)
    labels = labels_of(size, masks)[grid.rows[:, None], grid.columns]
    painted = np.array(canvas.picture)
    filled = labels > 0
    painted[filled] = (1 - _FILL) * painted[filled] + _FILL * colours[labels[filled]]
    for found, colour in zip(masks, colours[1:], strict=True):
        _draw_outline(painted, grid, found, colour)
    return painted


def _draw_outline(painted: NDArray[np.uint8], grid: _Grid, found: GeneratedMask, colour: NDArray[np.uint8]) -> None:
    """Draws a line one pixel of the picture wide; only the mask's box is looked at."""
    box = found.bounding_box
    top, bottom = np.searchsorted(grid.rows, (box.y_min, box.y_max))
    left, right = np.searchsorted(grid.columns, (box.x_min, box.x_max))
    drawn = found.mask[grid.rows[top:bottom, None], grid.columns[left:right]]
    painted[top:bottom, left:right][outline(drawn)] = colour


def _colour(index: int) -> tuple[int, ...]:
    """Colours that differ in hue, and from one to the next in strength."""
    rgb = colorsys.hsv_to_rgb(index * _HUE_STEP % 1, (0.95, 0.6)[index % 2], 1.0)
    return tuple(round(255 * value) for value in rgb)
