"""Finding everything: grids, thresholds, duplicates, crops, memory, and callers who leave."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest

from hilum.errors import LimitExceeded, Overloaded, PromptNotSupported
from hilum.generation import GenerationParameters, GenerationProgress
from hilum.region import Region
from hilum.serving.bundle import PromptKinds
from hilum.serving.overload import ComputePool, Permits
from services.decoder.automatic import MaskGeneration, SearchedCrop
from services.decoder.candidates import Candidate
from services.decoder.decoding import DecodeTimings
from services.decoder.embeddings import HotImage
from services.decoder.mask_decoder import LowResMasks
from tests.unit.decoder.wiring import LOW_RES, SIDE, Drawing, hot

PATIENCE_S = 20
EVERYTHING = GenerationParameters(points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1)
CELL = SIDE / LOW_RES


class Squares(Drawing):
    """Draws 3 x 3 low-resolution cells around each point; mask k has 5 k logits inside and scores k / 4."""

    def decode(self, prepared: Any, coords: Any, labels: Any, mask_input: Any = None) -> LowResMasks:
        """Draws."""
        del prepared, mask_input
        assert labels.tolist() == [[1, -1]] * len(coords)
        assert not coords[:, 1].any()
        self.calls.append((coords.shape, False))
        centres = (np.arange(LOW_RES) + 0.5) * CELL
        # The prompt encoder's half pixel.
        near = np.abs(centres - (coords[:, 0, :, None] + 0.5)) <= 1.5 * CELL
        inside = near[:, 1, :, None] & near[:, 0, None, :]
        height = 5.0 * np.arange(4)[:, None, None]
        logits = np.where(inside[:, None], height, -20).astype(np.float32)
        return LowResMasks(logits, np.tile(np.arange(4, dtype=np.float32) / 4, (len(coords), 1)))


@asynccontextmanager
async def generation(**options: Any) -> AsyncIterator[MaskGeneration]:
    """Runs a core."""
    pool = ComputePool(1, 16)
    async with asyncio.timeout(PATIENCE_S):
        yield MaskGeneration(permits=Permits(1, 0), pool=pool, **options)
    await pool.close()


def whole(image: HotImage) -> SearchedCrop:
    """Returns the image as a crop."""
    return SearchedCrop(image, Region(0, 0, image.image_size[1], image.image_size[0]), 0)


async def search(
    crops: list[SearchedCrop], parameters: GenerationParameters, **options: Any
) -> tuple[list[GenerationProgress], list[Candidate]]:
    """Searches with a core of its own; returns progress and masks."""
    async with generation(**options) as core:
        *progress, found = [event async for event in core.generate(crops, parameters, DecodeTimings())]
    assert isinstance(found, list)
    steps = [step for step in progress if isinstance(step, GenerationProgress)]
    assert len(steps) == len(progress)
    return steps, found


async def test_every_point_of_the_grid_is_asked_once() -> None:
    """The grid runs in batches of points_per_batch; every point yields masks 1 to 3, found where the point lies."""
    decoder = Squares()
    parameters = GenerationParameters(
        points_per_side=4, points_per_batch=5, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1
    )
    progress, found = await search([whole(hot(decoder))], parameters)
    assert [shape[0] for shape, _ in decoder.calls] == [5, 5, 5, 1]
    assert [(step.points_done, step.points_total) for step in progress] == [(5, 16), (10, 16), (15, 16), (16, 16)]
    assert [step.candidates for step in progress] == [15, 30, 45, 48]
    assert sorted(mask.point for mask in found) == sorted(
        (x, y) for x in (7.5, 23.5, 39.5, 55.5) for y in (7.5, 23.5, 39.5, 55.5) for _ in range(3)
    )
    for mask in found:
        left, top, right, bottom = mask.bounds
        assert left <= mask.point[0] <= right
        assert top <= mask.point[1] <= bottom


async def test_thresholds() -> None:
    """Kept are masks whose score is above pred_iou_thresh and whose stability reaches stability_score_thresh."""
    image = [whole(hot(Squares()))]
    _, found = await search(image, GenerationParameters(4, pred_iou_thresh=0.5, stability_score_thresh=0))
    assert {mask.iou_prediction for mask in found} == {0.75}
    _, found = await search(image, EVERYTHING)
    scores = sorted(mask.stability_score for mask in found)
    middle = scores[len(scores) // 2]
    _, found = await search(
        image, GenerationParameters(4, pred_iou_thresh=0, stability_score_thresh=middle, box_nms_thresh=1)
    )
    assert len(found) == sum(score >= middle for score in scores)


async def test_the_stability_offset_counts() -> None:
    """A larger offset makes every mask less stable."""
    image = [whole(hot(Squares()))]
    _, near = await search(image, EVERYTHING)
    wide = GenerationParameters(
        4, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1, stability_score_offset=4
    )
    _, far = await search(image, wide)
    assert max(mask.stability_score for mask in far) < max(mask.stability_score for mask in near)


async def test_duplicates_are_removed() -> None:
    """Of the masks of one place the one with the best score stays, best first."""
    parameters = GenerationParameters(4, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=0.5)
    _, found = await search([whole(hot(Squares()))], parameters)
    assert len(found) == 16
    assert {mask.iou_prediction for mask in found} == {0.75}


async def test_empty_masks_are_never_found() -> None:
    """Masks without foreground are dropped, even where every threshold is off."""
    _, found = await search([whole(hot(Squares(), mask_threshold=12.0))], EVERYTHING)
    assert {mask.iou_prediction for mask in found} == {0.75}
    assert all(mask.area for mask in found)


async def test_crops_see_their_part_and_are_preferred() -> None:
    """A crop's points lie in it, its masks in the full image; of masks of two crops the smaller crop's stays."""
    image = SearchedCrop(hot(Squares(), image_size=(256, 256)), Region(0, 0, 256, 256), 0)
    crop = SearchedCrop(hot(Squares(), image_size=(128, 128)), Region(64, 64, 128, 128), 1)
    parameters = GenerationParameters(
        8, pred_iou_thresh=0.5, stability_score_thresh=0, crop_nms_thresh=0.05, crop_n_points_downscale_factor=2
    )
    progress, found = await search([image, crop], parameters)
    assert progress[-1].points_total == 64 + 16
    inner = [mask for mask in found if mask.crop == crop.region]
    assert inner
    assert found[: len(inner)] == inner
    for mask in inner:
        assert all(64 <= value <= 192 for value in mask.point)
        # Not within 20 px of the crop's edges.
        assert min(mask.bounds) > 84
        assert max(mask.bounds) < 172


async def test_small_regions_are_removed() -> None:
    """With min_mask_region_area islands go, and of the duplicates that this makes the unchanged mask stays."""

    class Islands(Squares):
        """Adds one low-resolution cell in the corner to masks 2 and 3."""

        def decode(self, prepared: Any, coords: Any, labels: Any, mask_input: Any = None) -> LowResMasks:
            """Draws."""
            answer = super().decode(prepared, coords, labels, mask_input)
            answer.low_res_masks[:, 2:, :1, :1] = 15
            return answer

    plain = GenerationParameters(
        2, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=0.6, crop_nms_thresh=0.6
    )
    _, before = await search([whole(hot(Islands()))], plain)
    assert any(mask.bounds[:2] == (0, 0) for mask in before)
    _, after = await search([whole(hot(Islands()))], dataclasses.replace(plain, min_mask_region_area=60))
    assert not any(mask.bounds[:2] == (0, 0) for mask in after)
    assert len(before) == 8
    assert [mask.iou_prediction for mask in after] == [0.25] * 4


async def test_untrained_points_never_reach_the_model() -> None:
    """A model that was not trained on points is not asked, and the caller hears what it understands."""
    decoder = Squares()
    image = hot(decoder, prompts=PromptKinds(points=False, box=True, mask_input=False))
    with pytest.raises(PromptNotSupported, match="a box"):
        await search([whole(image)], EVERYTHING)
    assert decoder.calls == []


async def test_memory_is_bounded() -> None:
    """A search whose candidates take more memory than it may stops, and says what to change."""
    with pytest.raises(LimitExceeded, match="pred_iou_thresh") as caught:
        await search([whole(hot(Squares()))], EVERYTHING, max_candidate_bytes=10_000)
    assert caught.value.field == "points_per_side"


async def test_who_leaves_stops_the_search() -> None:
    """Closing the stream stops the work at the batch that runs, and gives the permit back."""
    decoder = Squares()
    parameters = GenerationParameters(points_per_side=8, points_per_batch=4)
    async with generation() as core:
        async with aclosing(core.generate([whole(hot(decoder))], parameters, DecodeTimings())) as events:
            await anext(events)
            with pytest.raises(Overloaded):
                await anext(core.generate([whole(hot(decoder))], parameters, DecodeTimings()))
        assert len(decoder.calls) == 1
        again = [event async for event in core.generate([whole(hot(decoder))], parameters, DecodeTimings())]
        assert isinstance(again[-1], list)


async def test_times_are_taken() -> None:
    """Decoding and postprocessing are timed apart."""
    timings = DecodeTimings()
    async with generation() as core:
        async for _ in core.generate([whole(hot(Squares()))], EVERYTHING, timings):
            pass
    assert timings.decode_ms > 0
    assert timings.postprocess_ms > 0
