"""Which part of an image is encoded for a prompt: small targets get a region at the model's full resolution.

A 10 px stone in a 512 x 512 slice is 5 px on a 256 x 256 canvas. Encoding a crop around it instead keeps its detail.
The rule, for callers in any language (test vectors: protos/hilum/v1/region_vectors.json). Lengths along y are first
multiplied by the pixel aspect (height of a pixel divided by its width), so that all are in widths of a pixel:

1. Only a box says how large a target is; without a box the whole image is encoded.
2. extent = the longer side of the box. The sides offered are S/2, S, 2 S, 4 S, ... for a model with input side S; the
   region's side is the smallest of them that is at least 8 extents.
3. If that side is more than three quarters of the image's longer side, the whole image is encoded.
4. The region has `side` columns, and side / aspect rows, rounded (halves upwards), at least one. Along each axis, with
   n columns or rows and a step of n / 8, rounded down, at least one: the region is centred on the box, its first column
   or row rounded to a multiple of the step (halves upwards), then moved inside the image. Where the image has fewer
   than n, the region takes all of them.

Neighbouring prompts therefore share a region, and with it an embedding. On square pixels the region is square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hilum.types import Prompt

SIDE_PER_EXTENT = 8
STEPS_PER_SIDE = 8
LARGEST_SHARE = 0.75


@dataclass(frozen=True)
class Region:
    """An integer, half-open crop of an image, in pixels."""

    x: int
    y: int
    width: int
    height: int


def choose_region(
    prompt: Prompt, image_size: tuple[int, int], model_side: int, pixel_aspect: float = 1.0
) -> Region | None:
    """Returns the region to encode for a prompt, None for the whole image.

    Args:
        prompt: What marks the target, in full-image pixels.
        image_size: (height, width).
        model_side: Side of the model's square input.
        pixel_aspect: Height of a pixel divided by its width.
    """
    box = prompt.box
    if box is None:
        return None
    height, width = image_size
    extent = max(box.x_max - box.x_min, (box.y_max - box.y_min) * pixel_aspect)
    largest = LARGEST_SHARE * max(width, height * pixel_aspect)
    side = model_side // 2
    while side < SIDE_PER_EXTENT * extent and side <= largest:
        side *= 2
    if side > largest or not math.isfinite(extent):
        return None
    rows = max(math.floor(side / pixel_aspect + 0.5), 1)
    x = _first((box.x_min + box.x_max) / 2, side, width)
    y = _first((box.y_min + box.y_max) / 2, rows, height)
    return Region(x, y, min(side, width), min(rows, height))


def _first(centre: float, count: int, length: int) -> int:
    """First of `count` columns or rows around a centre, on the grid and inside the image."""
    step = max(count // STEPS_PER_SIDE, 1)
    # Pixel centres lie at integers: a crop of n that begins at f is centred on f + (n - 1) / 2.
    snapped = math.floor((centre + 0.5 - count / 2) / step + 0.5) * step
    return max(0, min(snapped, length - count))
