"""Small bright targets: which masks of a close look stand out from all that surrounds them (rule 9 of `hilum.region`).

A click beside a stone, within the box that a person would draw around it, is mostly answered with the tissue that the
stone lies in. The same look's smaller candidates often hold the stone; this tells whether one does.
"""

from __future__ import annotations

import numpy as np

from hilum.region import SIDE_PER_EXTENT, Region
from hilum.types import BoolMask, Box, Pixels, PredictedMask, Prompt

# DICOM modalities of images made by X-rays, in which calcium is brighter than all soft tissue (PS3.3 C.7.3.1.1.1). In
# others brightness says less: of a tumour that takes up contrast agent in MR, a brighter part would stand out.
XRAY_MODALITIES = frozenset({"CT", "CR", "DX", "MG", "XA", "RF", "PX", "IO"})
# A mask's ring: pixels this far from it in rows and columns. What touches it is partly of it.
RING_BEGINS_PX, RING_ENDS_PX = 2, 3
# Share of the ring that must be darker than the mask's mean. Fragments of an organ or a bone border on more of it.
DARKER_SHARE = 0.9


def may_stand_out(modality: str, pixels: Pixels) -> bool:
    """Returns whether small bright targets are sought in an image at all.

    Args:
        modality: DICOM Modality, "" where it is not known.
        pixels: (height, width), or (height, width, 3): then they are not.
    """
    return modality in XRAY_MODALITIES and pixels.ndim == 2


def stands_out(found: PredictedMask, values: Pixels, region: Region, prompt: Prompt, pixel_aspect: float = 1.0) -> bool:
    """Returns whether a mask is a small bright target at the prompt's points.

    Args:
        found: Of a look at the region, in full-image pixels; the model's own mask is judged.
        values: (height, width), of the full image: modality values or grey levels, brighter is more.
        region: What was looked at.
        prompt: The click, in full-image pixels.
        pixel_aspect: Height of a pixel divided by its width.
    """
    box = found.bounding_box
    if box is None or region.cuts(box, (values.shape[0], values.shape[1])):
        return False
    side = max(region.width, region.height * pixel_aspect)
    extent = max(box.x_max - box.x_min, (box.y_max - box.y_min) * pixel_aspect)
    if SIDE_PER_EXTENT * extent > side or not _clicked(found.model_mask, box, prompt, side, pixel_aspect):
        return False
    return _brighter_than_its_ring(found.model_mask, box, values)


def _clicked(mask: BoolMask, box: Box, prompt: Prompt, side: float, pixel_aspect: float) -> bool:
    """Whether all foreground points are near the box, and no background point lies on the mask."""
    reach = side / (2 * SIDE_PER_EXTENT)
    for point in prompt.points:
        if point.foreground:
            away_x = max(box.x_min - point.x, point.x - box.x_max)
            away_y = max(box.y_min - point.y, point.y - box.y_max) * pixel_aspect
            if max(away_x, away_y) > reach:
                return False
        elif mask[_nearest(point.y, mask.shape[0]), _nearest(point.x, mask.shape[1])]:
            return False
    return True


def _nearest(coordinate: float, length: int) -> int:
    return min(max(int(np.floor(coordinate + 0.5)), 0), length - 1)


def _brighter_than_its_ring(mask: BoolMask, box: Box, values: Pixels) -> bool:
    rows, columns = (
        slice(max(0, int(low + 0.5) - RING_ENDS_PX), int(high + 0.5) + RING_ENDS_PX)
        for low, high in ((box.y_min, box.y_max), (box.x_min, box.x_max))
    )
    inside, around = mask[rows, columns], values[rows, columns]
    ring = around[_grown(inside, RING_ENDS_PX) & ~_grown(inside, RING_BEGINS_PX - 1)]
    darker = np.count_nonzero(ring < around[inside].mean(dtype=np.float64))
    return bool(ring.size and darker >= DARKER_SHARE * ring.size)


def _grown(mask: BoolMask, by: int) -> BoolMask:
    """A mask and all pixels of its window that are at most so many rows and columns from it."""
    # The client library stands on numpy alone.
    grown = mask.copy()
    for axis in (0, 1):
        lines = np.moveaxis(grown, axis, 0)
        before = lines.copy()
        for step in range(1, by + 1):
            lines[step:] |= before[:-step]
            lines[:-step] |= before[step:]
    return grown
