"""What the fake decoder finds: discs around the points of a grid, three sizes each, under the rules of the service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hilum.codec.masks import mask_to_message
from hilum.codec.prompts import box_to_message
from hilum.generation import (
    GenerationParameters,
    grid_side,
    near_crop_edge,
    non_duplicates,
    point_grid,
)
from hilum.masks import bounding_box
from hilum.region import Region
from hilum.testing.drawing import SCALES, View, mask
from hilum.types import BoolMask, Box, Point, Prompt
from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import image_pb2

SCORES = (0.9, 0.8, 0.7)
_MASKS_PER_MESSAGE = 16


@dataclass(frozen=True)
class Crop:
    """An encoded part of the image; `layer` 0 is the image itself."""

    view: View
    layer: int

    @property
    def region(self) -> Region:
        """Where it lies."""
        (x, y), (height, width) = self.view.offset, self.view.size
        return Region(x, y, width, height)


@dataclass(frozen=True)
class _Disc:
    mask: BoolMask
    box: Box
    score: float
    point: Point
    region: Region

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """First and last pixel (left, top, right, bottom)."""
        box = self.box
        return int(box.x_min + 0.5), int(box.y_min + 0.5), int(box.x_max - 0.5), int(box.y_max - 0.5)


def search(
    crops: Sequence[Crop],
    size: tuple[int, int],
    parameters: GenerationParameters,
    *,
    radius_px: float,
    packed: bool,
) -> Iterator[pb.GenerateMasksResponse]:
    """Yields progress after every batch of points, then the discs, several a message.

    Args:
        crops: The image itself first, then its crops.
        size: (height, width) of the image.
        parameters: Thresholds and grid; discs are stable, and nothing is removed from them.
        radius_px: Radius of the largest disc.
        packed: Packed bits instead of run lengths.
    """
    grids = [
        point_grid(
            grid_side(parameters.points_per_side, parameters.crop_n_points_downscale_factor, crop.layer), crop.region
        )
        for crop in crops
    ]
    found: list[_Disc] = []
    done, passed, total = 0, 0, sum(len(grid) for grid in grids)
    for crop, grid in zip(crops, grids, strict=True):
        in_crop: list[_Disc] = []
        for begin in range(0, len(grid), parameters.points_per_batch):
            points = grid[begin : begin + parameters.points_per_batch]
            drawn = [
                disc
                for x, y in points.tolist()
                for disc in _discs(Point(x, y), crop, size, parameters.pred_iou_thresh, radius_px)
            ]
            in_crop += drawn
            done, passed = done + len(points), passed + len(drawn)
            progress = pb.GenerationProgress(points_done=done, points_total=total, candidates=passed)
            yield pb.GenerateMasksResponse(progress=progress)
        found += _kept(in_crop, [disc.score for disc in in_crop], parameters.box_nms_thresh)
    if len(crops) > 1:
        areas = [disc.region.width * disc.region.height for disc in found]
        found = _kept(found, [1 / area for area in areas], parameters.crop_nms_thresh)
    for begin in range(0, len(found), _MASKS_PER_MESSAGE):
        portion = [_message(disc, packed=packed) for disc in found[begin : begin + _MASKS_PER_MESSAGE]]
        yield pb.GenerateMasksResponse(masks=pb.GeneratedMasks(masks=portion))


def _discs(
    point: Point, crop: Crop, size: tuple[int, int], pred_iou_thresh: float, radius_px: float
) -> Iterator[_Disc]:
    region = crop.region
    for scale, score in zip(SCALES, SCORES, strict=True):
        if score <= pred_iou_thresh:
            continue
        full = np.zeros(size, np.bool_)
        drawn = mask(Prompt(points=(point,)), crop.view, scale=scale, radius_px=radius_px)
        full[region.y : region.y + region.height, region.x : region.x + region.width] = drawn
        box = bounding_box(full)
        if box is not None:
            disc = _Disc(full, box, score, point, region)
            if not near_crop_edge(disc.bounds, region, size):
                yield disc


def _kept(discs: Sequence[_Disc], scores: Sequence[float], iou_threshold: float) -> list[_Disc]:
    return [discs[index] for index in non_duplicates([disc.bounds for disc in discs], scores, iou_threshold)]


def _message(disc: _Disc, *, packed: bool) -> pb.GeneratedMask:
    region = disc.region
    edges = Box(region.x - 0.5, region.y - 0.5, region.x + region.width - 0.5, region.y + region.height - 0.5)
    return pb.GeneratedMask(
        mask=pb.PredictedMask(
            mask=mask_to_message(disc.mask, packed=packed),
            iou_prediction=disc.score,
            stability_score=1.0,
            area_px=int(disc.mask.sum()),
            bounding_box=box_to_message(disc.box),
        ),
        point=image_pb2.Point(x=disc.point.x, y=disc.point.y),
        crop_box=box_to_message(edges),
    )
