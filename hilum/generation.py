"""Finding everything in an image: the parameters, the results, and the rules that client, service and fake share.

The rules and names are those of segment-anything's SamAutomaticMaskGenerator (segment_anything.utils.amg), in our
frame: points and boxes are (x, y) in full-image pixels, pixel centres at integers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.region import Region
from hilum.types import BoolMask, Box, ImageSource, Point

CROP_EDGE_PX = 20


@dataclass(frozen=True)
class GenerationParameters:
    """How masks are generated; names and defaults are segment-anything's.

    Attributes:
        points_per_side: Points along one side of the grid, 1 to 128.
        points_per_batch: Points that run together, 1 to 64; masks do not depend on it.
        pred_iou_thresh: Masks with a model score above it are kept; 0 keeps all.
        stability_score_thresh: Masks with at least this stability score are kept; 0 keeps all.
        stability_score_offset: How far the threshold on logits moves for the stability score.
        box_nms_thresh: IoU of boxes above which two masks of one crop are duplicates.
        crop_n_layers: Layers of crops searched beside the image, 0 to 2; layer n has 2^n x 2^n crops.
        crop_nms_thresh: IoU of boxes above which masks of two crops are duplicates.
        crop_overlap_ratio: Overlap of the first layer's crops as a share of the image's shorter side.
        crop_n_points_downscale_factor: The grid of layer n has this factor to the n fewer points a side.
        min_mask_region_area: Holes and islands with fewer pixels are removed; 0 leaves masks as they are.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0


@dataclass(frozen=True)
class GenerationProgress:
    """How far a search has come.

    Attributes:
        points_done: Points prompted so far, in all crops.
        points_total: Points in all crops.
        candidates: Masks that passed the thresholds so far, duplicates included.
    """

    points_done: int
    points_total: int
    candidates: int


@dataclass(frozen=True)
class GeneratedMask:
    """One mask that was found, never empty.

    Attributes:
        mask: (height, width) of the full image.
        area_px: Foreground pixels.
        bounding_box: Tight box, edges at pixel borders.
        model_score: The model's estimate of its IoU (`iou_prediction`), not calibrated.
        stability_score: IoU of the masks at logits +offset and -offset.
        point: The point that prompted it.
        crop_box: The crop in which it was found; the whole image without crops.
    """

    mask: BoolMask
    area_px: int
    bounding_box: Box
    model_score: float
    stability_score: float
    point: Point
    crop_box: Box


@dataclass(frozen=True)
class Generation:
    """Everything that was found in an image.

    Attributes:
        masks: The surest first.
        model: Name of the model.
        encoder_revision: Of the encoder, hex.
        decoder_revision: Of the decoder, hex.
        parameters: What was asked for.
        source: What the image came from.
    """

    masks: tuple[GeneratedMask, ...]
    model: str
    encoder_revision: str
    decoder_revision: str
    parameters: GenerationParameters
    source: ImageSource = ImageSource()


def crop_regions(size: tuple[int, int], n_layers: int, overlap_ratio: float) -> list[tuple[Region, int]]:
    """Returns the crops of an image (height, width) with their layers from 1; `generate_crop_boxes` of SAM.

    The image itself, SAM's first crop, is left out.
    """
    height, width = size
    regions: list[tuple[Region, int]] = []
    for layer in range(1, n_layers + 1):
        side = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / side))
        crop_width = math.ceil((overlap * (side - 1) + width) / side)
        crop_height = math.ceil((overlap * (side - 1) + height) / side)
        for column, row in itertools.product(range(side), range(side)):
            x, y = (crop_width - overlap) * column, (crop_height - overlap) * row
            regions.append((Region(x, y, min(crop_width, width - x), min(crop_height, height - y)), layer))
    # An image of a few pixels has fewer crops than a layer asks for.
    return [(region, layer) for region, layer in regions if min(region.width, region.height) > 0]


def grid_side(points_per_side: int, downscale_factor: int, layer: int) -> int:
    """Returns the points along one side of a layer's grid, at least one."""
    return max(1, int(points_per_side // downscale_factor**layer))


def point_grid(side: int, region: Region) -> NDArray[np.float64]:
    """Returns side x side points (n, 2) as (x, y), row by row, spread evenly over a region.

    The grid is symmetric in the region: with as many points as pixels, every point is a pixel's centre. SAM's
    `build_point_grid` counts from the corner of the first pixel instead of its centre, and so do its points.
    """
    steps = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(region.x + steps * region.width - 0.5, region.y + steps * region.height - 0.5)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def near_crop_edge(bounds: tuple[int, int, int, int], region: Region, size: tuple[int, int]) -> bool:
    """Says whether a mask may be cut off: it ends near an edge of its crop that is no edge of the image.

    Args:
        bounds: First and last pixel (left, top, right, bottom) of the mask in the full image.
        region: The crop.
        size: (height, width) of the full image.
    """
    crop = (region.x, region.y, region.x + region.width, region.y + region.height)
    image = (0, 0, size[1], size[0])
    return any(
        abs(edge - crop_edge) <= CROP_EDGE_PX < abs(edge - image_edge)
        for edge, crop_edge, image_edge in zip(bounds, crop, image, strict=True)
    )


def non_duplicates(bounds: Sequence[tuple[int, int, int, int]], scores: ArrayLike, iou_threshold: float) -> list[int]:
    """Returns the indices of the boxes that non-maximum suppression keeps, best score first; equal scores in order.

    As torchvision's `nms` on SAM's boxes: a box is dropped when its IoU with a better one that is kept is above the
    threshold. Lengths run from the first to the last pixel's centre, so that a line of pixels has no area and is no
    duplicate of anything.

    Args:
        bounds: First and last pixel (left, top, right, bottom) of each mask.
        scores: One per box.
        iou_threshold: In [0, 1].
    """
    left, top, right, bottom = np.asarray(bounds, np.float32).reshape(-1, 4).T
    areas = (right - left) * (bottom - top)
    remaining = np.argsort(-np.asarray(scores), kind="stable")
    kept: list[int] = []
    while remaining.size:
        best, others = remaining[0], remaining[1:]
        kept.append(int(best))
        widths = np.minimum(right[best], right[others]) - np.maximum(left[best], left[others])
        heights = np.minimum(bottom[best], bottom[others]) - np.maximum(top[best], top[others])
        common = np.maximum(widths, 0) * np.maximum(heights, 0)
        together = areas[best] + areas[others] - common
        iou = np.divide(common, together, out=np.zeros_like(common), where=together > 0)
        remaining = others[~(iou > np.float64(iou_threshold))]
    return kept
