"""Which part of an image is encoded for a prompt: small targets get a region at the model's full resolution.

A 10 px stone in a 512 x 512 slice is 5 px on a 256 x 256 canvas. Encoding a crop around it instead keeps its detail.
The rule, for callers in any language (test vectors: protos/hilum/v1/region_vectors.json):

1. Only a box says how large a target is; without a box the whole image is encoded.
2. extent = the longer side of the box. The sides offered are S/2, S, 2 S, 4 S, ... for a model with input side S; the
   region's side is the smallest of them that is at least 4 extents.
3. If that side is more than three quarters of the image's longer side, the whole image is encoded.
4. The region is centred on the box, its first column and row rounded to multiples of an eighth of the side (halves
   upwards), then moved inside the image. Where the image is narrower than the side, the region takes all of it.

Neighbouring prompts therefore share a region, and with it an embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hilum.types import Prompt

SIDE_PER_EXTENT = 4
STEPS_PER_SIDE = 8
LARGEST_SHARE = 0.75


@dataclass(frozen=True)
class Region:
    """An integer, half-open crop of an image, in pixels."""

    x: int
    y: int
    width: int
    height: int


def choose_region(prompt: Prompt, image_size: tuple[int, int], model_side: int) -> Region | None:
    """Returns the region to encode for a prompt, None for the whole image.

    Args:
        prompt: What marks the target, in full-image pixels.
        image_size: (height, width).
        model_side: Side of the model's square input.
    """
    box = prompt.box
    if box is None:
        return None
    extent = max(box.x_max - box.x_min, box.y_max - box.y_min)
    height, width = image_size
    largest = LARGEST_SHARE * max(height, width)
    side = model_side // 2
    while side < SIDE_PER_EXTENT * extent and side <= largest:
        side *= 2
    if side > largest:
        return None
    # Pixel centres lie at integers: the box's centre c belongs to a crop that begins at c + .5 - side / 2.
    x = _first((box.x_min + box.x_max) / 2, side, width)
    y = _first((box.y_min + box.y_max) / 2, side, height)
    return Region(x, y, min(side, width), min(side, height))


def _first(centre: float, side: int, length: int) -> int:
    step = side // STEPS_PER_SIDE
    snapped = math.floor((centre + 0.5 - side / 2) / step + 0.5) * step
    return max(0, min(snapped, length - side))
