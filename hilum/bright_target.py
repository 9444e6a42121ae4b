"""Small bright targets: which mask of a close look stands out from all around it (rules 9 and 10 of `hilum.region`).

A click beside a stone, within the box that a person would draw around it, is mostly answered with the tissue that the
stone lies in. The same look's smaller candidates often hold the stone, or those of a click moved onto it; this tells
whether one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hilum.region import SIDE_PER_EXTENT, Region
from hilum.types import BoolMask, Box, Pixels, Point, PredictedMask, Prompt

# DICOM modalities of images made by X-rays, in which calcium is brighter than all soft tissue (PS3.3 C.7.3.1.1.1). In
# others brightness says less: of a tumour that takes up contrast agent in MR, a brighter part would stand out.
XRAY_MODALITIES = frozenset({"CT", "CR", "DX", "MG", "XA", "RF", "PX", "IO"})
# A mask's ring: pixels this far from it in rows and columns. What touches it is partly of it.
RING_BEGINS_PX, RING_ENDS_PX = 2, 3
# Share of the ring that must be darker than the mask's mean. Fragments of an organ or a bone border on more of it.
DARKER_SHARE = 0.9
# What the click lies on is no target beside it: its score may be so much lower than that of the first choice, not more.
ON_TARGET_SLACK = 0.2
# A click is moved where the model is not sure of what it found, and what is found there counts where the model is sure:
# nobody clicked on it. It may take this much of the region's side.
UNSURE_SCORE, SURE_SCORE = 0.5, 0.75
MOVED_SIDE_PER_EXTENT = 6


def may_stand_out(modality: str, pixels: Pixels, *, announced: bool = False) -> bool:
    """Returns whether small bright targets are sought in an image at all.

    Args:
        modality: DICOM Modality, "" where it is not known.
        pixels: (height, width), or (height, width, 3): then they are not.
        announced: Whether the caller says that the target is one: then they are sought in any modality.
    """
    return (announced or modality in XRAY_MODALITIES) and pixels.ndim == 2


@dataclass(frozen=True)
class CloseUp:
    """A second look at a click, in an image in which small bright targets are sought.

    Attributes:
        values: (height, width), of the full image: modality values or grey levels, brighter is more.
        region: What is looked at.
        prompt: The click, in full-image pixels.
        pixel_aspect: Height of a pixel divided by its width.
        announced: Whether the caller says that the target is small and bright: then scores of other answers count less.
    """

    values: Pixels
    region: Region
    prompt: Prompt
    pixel_aspect: float = 1.0
    announced: bool = False

    def moved(self, choice: PredictedMask) -> Prompt | None:
        """Returns the click moved to the brightest place near it.

        None where the model is sure of its first choice and no bright target is announced, and for several foreground
        points.

        Args:
            choice: What the answer is without a bright target, by rules 6 to 8.
        """
        clicks = [point for point in self.prompt.points if point.foreground]
        sure = choice.model_score >= UNSURE_SCORE and not self.announced
        if len(clicks) != 1 or sure:
            return None
        height, width = self.values.shape
        row, column = _nearest(clicks[0].y, height), _nearest(clicks[0].x, width)
        rows = _near(row, self._reach / self.pixel_aspect, self.region.y, self.region.height)
        columns = _near(column, self._reach, self.region.x, self.region.width)
        means = _means(self.values, rows, columns)
        brightest_row, brightest_column = np.unravel_index(np.argmax(means), means.shape)
        there = Point(float(columns.start + brightest_column), float(rows.start + brightest_row))
        return replace(self.prompt, points=tuple(there if it.foreground else it for it in self.prompt.points))

    def target(self, masks: Sequence[PredictedMask], choice: PredictedMask) -> int | None:
        """Returns which mask is a small bright target at the click, of several the best scored; None for none.

        Args:
            masks: Answers to the click.
            choice: What the answer is without one, by rules 6 to 8.
        """
        return _best(masks, lambda mask: self.stands_out(mask) and self._beside_or_as_good(mask, choice))

    def moved_target(self, masks: Sequence[PredictedMask]) -> int | None:
        """Returns which answer to the moved click is a small bright target; as `target`."""
        return _best(
            masks, lambda mask: mask.model_score >= SURE_SCORE and self.stands_out(mask, MOVED_SIDE_PER_EXTENT)
        )

    def stands_out(self, found: PredictedMask, side_per_extent: int = SIDE_PER_EXTENT) -> bool:
        """Returns whether a mask is small, brighter than its ring, and at the click.

        Args:
            found: Of a look at the region, in full-image pixels; the model's own mask is judged.
            side_per_extent: How often the mask must fit into the region's side.
        """
        box = found.bounding_box
        if box is None or self.region.cuts(box, (self.values.shape[0], self.values.shape[1])):
            return False
        extent = max(box.x_max - box.x_min, (box.y_max - box.y_min) * self.pixel_aspect)
        if side_per_extent * extent > self._side or not self._clicked(found.model_mask, box):
            return False
        return _brighter_than_its_ring(found.model_mask, box, self.values)

    def _beside_or_as_good(self, mask: PredictedMask, choice: PredictedMask) -> bool:
        if self.announced:
            return True
        height, width = mask.model_mask.shape
        on = (
            mask.model_mask[_nearest(point.y, height), _nearest(point.x, width)]
            for point in self.prompt.points
            if point.foreground
        )
        return not any(on) or mask.model_score >= choice.model_score - ON_TARGET_SLACK

    @property
    def _side(self) -> float:
        return max(self.region.width, self.region.height * self.pixel_aspect)

    @property
    def _reach(self) -> float:
        """How far a click may be from its target, in widths of a pixel."""
        return self._side / (2 * SIDE_PER_EXTENT)

    def _clicked(self, mask: BoolMask, box: Box) -> bool:
        """Whether all foreground points are near the box, and no background point lies on the mask."""
        for point in self.prompt.points:
            if point.foreground:
                away_x = max(box.x_min - point.x, point.x - box.x_max)
                away_y = max(box.y_min - point.y, point.y - box.y_max) * self.pixel_aspect
                if max(away_x, away_y) > self._reach:
                    return False
            elif mask[_nearest(point.y, mask.shape[0]), _nearest(point.x, mask.shape[1])]:
                return False
        return True


def _best(masks: Sequence[PredictedMask], counts: Callable[[PredictedMask], bool]) -> int | None:
    """Number of the best scored mask that counts."""
    counting = [number for number, mask in enumerate(masks) if counts(mask)]
    return max(counting, key=lambda number: masks[number].model_score, default=None)


def _near(centre: int, reach: float, first: int, count: int) -> slice:
    """Rows or columns of a region at most so far from one of them."""
    return slice(max(first, centre - int(reach)), min(first + count, centre + int(reach) + 1))


def _means(values: Pixels, rows: slice, columns: slice) -> Pixels:
    """Of every pixel of a window the mean of the 3 x 3 around it; beyond an edge of the image its pixels go on."""
    row_numbers, column_numbers = (
        np.clip(np.arange(window.start - 1, window.stop + 1), 0, length - 1)
        for window, length in zip((rows, columns), values.shape, strict=True)
    )
    around = values[np.ix_(row_numbers, column_numbers)].astype(np.float64)
    means: Pixels = np.lib.stride_tricks.sliding_window_view(around, (3, 3)).mean(axis=(2, 3))
    return means


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
