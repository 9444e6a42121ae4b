"""Masks that a search found and keeps: tight windows as run lengths, and their small regions removed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.masks import decode_rle, encode_rle
from hilum.region import Region
from services.decoder.postprocess import MaskWindow

# What a candidate takes beside its runs, roughly.
_OVERHEAD_BYTES = 1024


@dataclass(frozen=True)
class Candidate:
    """One mask that passed the thresholds. Never empty.

    Attributes:
        runs: Run lengths of the mask inside `bounds`, column-major.
        bounds: First and last foreground pixel (left, top, right, bottom) in the full image.
        area: Foreground pixels.
        iou_prediction: The model's estimate of its IoU.
        stability_score: Of the model's mask.
        point: The point (x, y) that prompted it, in the full image.
        crop: Where it was found, in the full image.
    """

    runs: NDArray[np.uint32]
    bounds: tuple[int, int, int, int]
    area: int
    iou_prediction: float
    stability_score: float
    point: tuple[float, float]
    crop: Region

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return self.runs.nbytes + _OVERHEAD_BYTES

    def mask(self) -> NDArray[np.bool_]:
        """Returns the pixels inside the bounds."""
        left, top, right, bottom = self.bounds
        return decode_rle(self.runs, (bottom - top + 1, right - left + 1))

    def without_small_regions(self, min_area: int, image_size: tuple[int, int]) -> Candidate:
        """Returns it without holes and islands of fewer than min_area pixels; itself where there are none.

        Args:
            min_area: In pixels.
            image_size: (height, width) of the full image.
        """
        left, top, right, bottom = self.bounds
        # Background around the mask is no hole: with this margin it shows at least min_area pixels of itself, or all.
        first_row, first_column = max(0, top - min_area), max(0, left - min_area)
        rows = min(image_size[0], bottom + 1 + min_area) - first_row
        columns = min(image_size[1], right + 1 + min_area) - first_column
        window = np.zeros((rows, columns), np.bool_)
        window[top - first_row :, left - first_column :][: bottom - top + 1, : right - left + 1] = self.mask()
        cleaned = without_islands(without_holes(window, min_area), min_area)
        if np.array_equal(cleaned, window):
            return self
        area = int(np.count_nonzero(cleaned))
        changed = tight(MaskWindow(cleaned, first_row, first_column, area, self.stability_score, any_logit_above=True))
        return replace(self, runs=changed[0], bounds=changed[1], area=area)


def tight(window: MaskWindow) -> tuple[NDArray[np.uint32], tuple[int, int, int, int]]:
    """Returns the run lengths of a window's foreground inside its bounds, and the bounds (left, top, right, bottom)."""
    bounds = window.bounds()
    if bounds is None:
        raise ValueError("an empty mask has no bounds")
    top, left, bottom, right = bounds
    rows = slice(top - window.row, bottom - window.row + 1)
    columns = slice(left - window.column, right - window.column + 1)
    return encode_rle(window.mask[rows, columns]), (left, top, right, bottom)


def without_holes(mask: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    """Returns the mask (height, width) with background regions of fewer than min_area pixels filled.

    Regions touch over edges and corners. Source: segment_anything.utils.amg.remove_small_regions.
    """
    labels, areas = _regions(~mask)
    # Label 0 is no region.
    filled: NDArray[np.bool_] = mask | np.append(False, areas < min_area)[labels]
    return filled


def without_islands(mask: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    """Returns the mask (height, width) without foreground regions of fewer than min_area pixels.

    Where all are smaller, the largest stays. Source as `without_holes`.
    """
    labels, areas = _regions(mask)
    large = areas >= min_area
    if areas.size and not large.any():
        large[np.argmax(areas)] = True
    kept: NDArray[np.bool_] = np.append(False, large)[labels]
    return kept


def _regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Returns labels (height, width) of the regions, from 1 and 0 outside, and the area of each region."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    return np.asarray(labels, np.int32), np.asarray(statistics[1:, cv2.CC_STAT_AREA], np.int32)
