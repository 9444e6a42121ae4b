"""Predicting masks: batches, the masks that are chosen, reasons, refinement."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from hilum.errors import PromptNotSupported
from hilum.serving.bundle import PromptKinds
from hilum.serving.overload import ComputePool, Permits
from hilum.types import Box, Placement, Point, Prompt
from services.decoder.decoding import MAX_BATCH, DecodedMask, DecodeTimings, Decoding, EmptyReason
from services.decoder.embeddings import HotImage
from services.decoder.refinement import Outcome, Patch
from tests.unit.decoder.wiring import LOW_RES, SIDE, Drawing, hot

PATIENCE_S = 20


@asynccontextmanager
async def decoding() -> AsyncIterator[Decoding]:
    """Runs a decoding core."""
    pool = ComputePool(1, 16)
    async with asyncio.timeout(PATIENCE_S):
        yield Decoding(permits=Permits(2, 2), pool=pool)
    await pool.close()


async def predict(image: HotImage, *prompts: Prompt, **fields: Any) -> list[tuple[DecodedMask, ...]]:
    """Predicts with a core of its own."""
    known: dict[str, Any] = {"placement": None, "multimask_output": False, "patch": None, "timings": DecodeTimings()}
    async with decoding() as core:
        return await core.predict(image, prompts, **known | fields)


def up_to(x: float) -> Prompt:
    """Returns a prompt for which the drawing decoder fills everything left of x."""
    return Prompt(points=(Point(x - 0.5, 30),))


async def test_results_stand_where_their_prompts_stood() -> None:
    """Prompts of all kinds, more than fit into a batch, are decoded in batches of one kind and come back in order."""
    decoder = Drawing()
    edges = [8 + 4 * (index % 12) for index in range(40)]
    prompts = [up_to(edge) if index % 3 else Prompt(box=Box(edge - 0.5, 0, 64, 9)) for index, edge in enumerate(edges)]
    results = await predict(hot(decoder), *prompts)
    for edge, (mask,) in zip(edges, results, strict=True):
        assert mask.window.full((64, 64)).sum(axis=1).tolist() == pytest.approx([edge] * 64, abs=2)
        assert mask.iou_prediction == pytest.approx((edge - 0.5) / 100, abs=1e-5)
    assert all(shape[0] <= MAX_BATCH for shape, _ in decoder.calls)
    assert sum(shape[0] for shape, _ in decoder.calls) == 40


async def test_one_mask_or_three() -> None:
    """Without multimask_output mask 0 is returned, with it masks 1 to 3, in the model's order."""
    ((single,),) = await predict(hot(Drawing()), up_to(48))
    (three,) = await predict(hot(Drawing()), up_to(48), multimask_output=True)
    widths = [mask.window.full((64, 64)).sum() / 64 for mask in (single, *three)]
    assert widths == pytest.approx([48, 44, 40, 36], abs=2)
    assert three[0].low_res_mask.shape == (LOW_RES, LOW_RES)


async def test_a_mask_input_alone() -> None:
    """A mask input without points is decoded without tokens."""
    decoder = Drawing()
    logits = np.full((LOW_RES, LOW_RES), -1, np.float32)
    logits[:, :8] = 1
    ((mask,),) = await predict(hot(decoder), Prompt(mask_input=logits))
    assert decoder.calls == [((1, 0, 2), True)]
    assert mask.window.area == pytest.approx(64 * 32, rel=0.1)


async def test_crops_are_prompted_where_they_lie() -> None:
    """With a placement the prompt is taken to the crop, and the mask back to the full image."""
    placement = Placement(100, 200, (400, 300))
    ((mask,),) = await predict(hot(Drawing()), up_to(100 + 32), placement=placement)
    top, left, bottom, right = mask.window.bounds() or (0, 0, 0, 0)
    assert (top, left, bottom) == (200, 100, 263)
    assert right == pytest.approx(131, abs=2)


async def test_why_a_mask_is_empty() -> None:
    """An empty mask says whether no logit reached the threshold, or only some outside the image."""
    flat = hot(Drawing(), image_size=(16, 64), input_size=(16, 64))
    ((nothing,),) = await predict(flat, up_to(0))
    assert nothing.empty_reason is EmptyReason.NO_LOGIT_ABOVE_THRESHOLD
    ((something,),) = await predict(flat, up_to(32))
    assert something.empty_reason is EmptyReason.NOT_EMPTY

    class Below(Drawing):
        """Draws below the image only."""

        def decode(self, prepared: Any, coords: Any, labels: Any, mask_input: Any = None) -> Any:
            """Draws in the padding."""
            drawn = super().decode(prepared, coords, labels, mask_input)
            drawn.low_res_masks[:, :, : LOW_RES // 2] = -5
            return drawn

    ((outside,),) = await predict(hot(Below(), image_size=(16, 64), input_size=(16, 64)), up_to(32))
    assert outside.empty_reason is EmptyReason.OUTSIDE_IMAGE
    assert outside.window.area == 0


async def test_the_bundles_threshold_counts() -> None:
    """Logits are compared with the mask threshold that the manifest states."""
    ((mask,),) = await predict(hot(Drawing(), mask_threshold=6.0), up_to(32))
    assert mask.empty_reason is EmptyReason.NO_LOGIT_ABOVE_THRESHOLD


async def test_refinement_stands_beside_the_models_mask() -> None:
    """With a patch each mask has an outcome; the model's own mask, score and logits stay as they are."""
    values = np.random.default_rng(0).normal(0, 1, (SIDE, SIDE))
    values[10:30, 8:28] += 100
    prompt = Prompt(box=Box(31.5, 5.5, 40.5, 35.5))
    ((plain,),) = await predict(hot(Drawing()), prompt)
    ((refined,),) = await predict(hot(Drawing()), prompt, patch=Patch(values.astype(np.float32), 0, 0))
    assert plain.refinement is None
    assert refined.refinement is not None
    assert np.array_equal(refined.window.mask, plain.window.mask)
    assert refined.iou_prediction == plain.iou_prediction
    assert (refined.refined is not None) == (refined.refinement is Outcome.APPLIED)


async def test_untrained_kinds_never_reach_the_model() -> None:
    """A prompt of a kind that the model was not trained on is refused before anything is decoded."""
    decoder = Drawing()
    image = hot(decoder, prompts=PromptKinds(points=False, box=True, mask_input=False))
    with pytest.raises(PromptNotSupported):
        await predict(image, Prompt(box=Box(1, 1, 9, 9)), up_to(5))
    assert decoder.calls == []


async def test_times_are_taken() -> None:
    """Decoding and postprocessing are timed apart."""
    timings = DecodeTimings()
    await predict(hot(Drawing()), up_to(5), timings=timings)
    assert timings.decode_ms > 0
    assert timings.postprocess_ms > 0
    assert timings.total_ms() >= timings.decode_ms + timings.postprocess_ms
