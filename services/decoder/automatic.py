"""Finding everything in an image: a grid of points through the decoder, what is sure is kept, duplicates are removed.

Source: SamAutomaticMaskGenerator of segment-anything, whose masks these are; tests/congruence/test_automatic.py
compares the two. Masks are kept as run lengths of tight windows, never as images.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.errors import LimitExceeded
from hilum.generation import (
    GenerationParameters,
    GenerationProgress,
    grid_side,
    near_crop_edge,
    non_duplicates,
    point_grid,
)
from hilum.region import Region
from hilum.serving.overload import ComputePool, Permits
from services.decoder.candidates import Candidate, tight
from services.decoder.decoding import DecodeTimings
from services.decoder.embeddings import HotImage
from services.decoder.postprocess import MaskUpscaler
from services.decoder.prompts import CanvasMap, check_points, point_batch

MAX_CANDIDATE_BYTES = 256 * 2**20
# Mask 0 is for unambiguous prompts; a point alone is ambiguous.
_MULTIMASK = range(1, 4)


@dataclass(frozen=True)
class SearchedCrop:
    """An encoded part of the image, or all of it, that is searched.

    Attributes:
        hot: It, ready for prompts.
        region: Where it lies in the full image.
        layer: 0 for the image, n for a crop of layer n.
    """

    hot: HotImage
    region: Region
    layer: int


class MaskGeneration:
    """Searches images that are ready for prompts.

    Args:
        permits: How many searches may run at once, and how many may wait. A search takes long: with permits of its own
            it leaves those of single prompts free.
        pool: Threads that the graph and postprocessing run on.
        max_candidate_bytes: Memory that the masks of one search may take before duplicates are removed.
    """

    def __init__(self, *, permits: Permits, pool: ComputePool, max_candidate_bytes: int = MAX_CANDIDATE_BYTES) -> None:
        self._permits = permits
        self._pool = pool
        self._max_candidate_bytes = max_candidate_bytes

    async def generate(
        self, crops: Sequence[SearchedCrop], parameters: GenerationParameters, timings: DecodeTimings
    ) -> AsyncGenerator[GenerationProgress | list[Candidate], None]:
        """Yields progress after every batch of points, then all masks. Closing it stops the work at the next batch.

        Args:
            crops: The image itself first, then its crops.
            parameters: See there; crop_n_layers and crop_overlap_ratio are the caller's, who chose the crops.
            timings: Filled in.

        Raises:
            PromptNotSupported: The model was not trained on points.
            LimitExceeded: More candidates than memory is given to.
            Overloaded: No permit is free.
        """
        image = crops[0].hot
        manifest = image.model.bundle.manifest
        check_points(manifest.prompts, manifest.name)
        sides = [
            grid_side(parameters.points_per_side, parameters.crop_n_points_downscale_factor, crop.layer)
            for crop in crops
        ]
        total, done, passed = sum(side**2 for side in sides), 0, 0
        found: list[Candidate] = []
        async with self._permits.acquire():
            for crop, side in zip(crops, sides, strict=True):
                search = _CropSearch(crop, parameters, image.image_size, timings)
                in_crop: list[Candidate] = []
                for points in search.batches(side):
                    # One call a batch: a cancelled or expired request stops between two of them.
                    batch = await self._pool.run(search.run, points)
                    in_crop += batch
                    self._check_memory(found, in_crop)
                    done, passed = done + len(points), passed + len(batch)
                    yield GenerationProgress(done, total, passed)
                found += await self._pool.run(_best, in_crop, parameters.box_nms_thresh)
            if len(crops) > 1:
                found = await self._pool.run(_of_smallest_crops, found, parameters.crop_nms_thresh)
            if parameters.min_mask_region_area:
                found = await self._without_small_regions(found, parameters, image.image_size)
        yield found

    def _check_memory(self, *candidates: list[Candidate]) -> None:
        held = sum(candidate.nbytes for some in candidates for candidate in some)
        if held > self._max_candidate_bytes:
            raise LimitExceeded(
                "too many candidates pass the thresholds; raise pred_iou_thresh or stability_score_thresh, or use "
                "fewer points",
                field="points_per_side",
            )

    async def _without_small_regions(
        self, found: list[Candidate], parameters: GenerationParameters, size: tuple[int, int]
    ) -> list[Candidate]:
        area = parameters.min_mask_region_area
        cleaned = [await self._pool.run(candidate.without_small_regions, area, size) for candidate in found]
        # As segment-anything: masks that nothing was removed from are the better ones.
        scores = [float(after is before) for before, after in zip(found, cleaned, strict=True)]
        threshold = max(parameters.box_nms_thresh, parameters.crop_nms_thresh)
        return await self._pool.run(_without_duplicates, cleaned, scores, threshold)


class _CropSearch:
    """The search of one crop: what its batches share."""

    def __init__(
        self, crop: SearchedCrop, parameters: GenerationParameters, full_size: tuple[int, int], timings: DecodeTimings
    ) -> None:
        hot = crop.hot
        manifest = hot.model.bundle.manifest
        self._crop = crop
        self._parameters = parameters
        self._full_size = full_size
        self._timings = timings
        self._canvas = CanvasMap(hot.image_size, hot.input_size, (crop.region.x, crop.region.y))
        self._upscale = MaskUpscaler(hot.image_size, hot.input_size, manifest.image_size, manifest.low_res_mask_size)

    def batches(self, side: int) -> Iterator[NDArray[np.float64]]:
        """Yields the points (n, 2) of a grid, batch by batch."""
        points = point_grid(side, self._crop.region)
        step = self._parameters.points_per_batch
        yield from (points[begin : begin + step] for begin in range(0, len(points), step))

    def run(self, points: NDArray[np.float64]) -> list[Candidate]:
        """Returns the masks of these points that pass the thresholds."""
        begin = time.perf_counter()
        batch, hot = point_batch(points, self._canvas), self._crop.hot
        answer = hot.model.decoder.decode(hot.prepared, batch.point_coords, batch.point_labels)
        middle = time.perf_counter()
        candidates = [
            self._candidate(answer.low_res_masks[index, mask], answer.iou_predictions[index, mask], point)
            for index, point in enumerate(points)
            for mask in _MULTIMASK
        ]
        self._timings.decode_ms += (middle - begin) * 1000
        self._timings.postprocess_ms += (time.perf_counter() - middle) * 1000
        return [candidate for candidate in candidates if candidate is not None]

    def _candidate(
        self, logits: NDArray[np.float32], score: np.float32, point: NDArray[np.float64]
    ) -> Candidate | None:
        """Returns the mask, None where a threshold or the crop's edge rules it out."""
        parameters, region = self._parameters, self._crop.region
        if parameters.pred_iou_thresh > 0 and not score > parameters.pred_iou_thresh:
            return None
        threshold = self._crop.hot.model.bundle.manifest.mask_threshold
        window = self._upscale(logits, threshold, parameters.stability_score_offset).moved(region.x, region.y)
        if not window.area or window.stability_score < parameters.stability_score_thresh:
            return None
        runs, bounds = tight(window)
        if near_crop_edge(bounds, region, self._full_size):
            return None
        x, y = point.tolist()
        return Candidate(runs, bounds, window.area, float(score), window.stability_score, (x, y), region)


def _best(candidates: list[Candidate], iou_threshold: float) -> list[Candidate]:
    return _without_duplicates(candidates, [candidate.iou_prediction for candidate in candidates], iou_threshold)


def _of_smallest_crops(candidates: list[Candidate], iou_threshold: float) -> list[Candidate]:
    areas = [candidate.crop.width * candidate.crop.height for candidate in candidates]
    return _without_duplicates(candidates, [1 / area for area in areas], iou_threshold)


def _without_duplicates(candidates: list[Candidate], scores: Sequence[float], iou_threshold: float) -> list[Candidate]:
    kept = non_duplicates([candidate.bounds for candidate in candidates], scores, iou_threshold)
    return [candidates[index] for index in kept]
