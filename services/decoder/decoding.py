"""Predicting masks: prompts in batches through the graph, then postprocessing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from hilum.serving.bundle import Manifest
from hilum.serving.candidates import three_candidates
from hilum.serving.overload import ComputePool, Permits
from hilum.serving.telemetry import Telemetry
from hilum.types import Box, Placement, Prompt
from services.decoder.embeddings import HotImage
from services.decoder.postprocess import MaskUpscaler, MaskWindow
from services.decoder.prompts import CanvasMap, PromptBatch, batches, check_kinds
from services.decoder.refinement import Outcome, Patch, refine_bright

MAX_BATCH = 16
_UPSCALERS_KEPT = 32


class EmptyReason(Enum):
    """Why a mask is empty; numbers as hilum.v1.EmptyMaskReason."""

    NOT_EMPTY = 0
    NO_LOGIT_ABOVE_THRESHOLD = 1
    OUTSIDE_IMAGE = 2


@dataclass(frozen=True)
class DecodedMask:
    """One mask of one prompt.

    Attributes:
        window: The model's mask, in pixels of the full image.
        iou_prediction: The model's estimate of its IoU.
        empty_reason: Why it is empty.
        low_res_mask: Logits (side, side) float32.
        refined: The refined mask (full height, full width), or None.
        refinement: What refinement did, None when it was not asked for.
    """

    window: MaskWindow
    iou_prediction: float
    empty_reason: EmptyReason
    low_res_mask: NDArray[np.float32]
    refined: NDArray[np.bool_] | None = None
    refinement: Outcome | None = None


@dataclass
class DecodeTimings:
    """Milliseconds spent on one call; filled in while it runs."""

    embedding_ms: float = 0.0
    decode_ms: float = 0.0
    postprocess_ms: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def total_ms(self) -> float:
        """Returns the time since the request arrived."""
        return (time.perf_counter() - self.started) * 1000


class Decoding:
    """Predicts masks for images that are ready for prompts.

    Args:
        permits: How many calls may run at once, and how many may wait; whoever calls `predict` holds one.
        pool: Threads that the graph and postprocessing run on.
        telemetry: Where sizes of batches are shown; None for nowhere.
    """

    def __init__(self, *, permits: Permits, pool: ComputePool, telemetry: Telemetry | None = None) -> None:
        self.permits = permits
        self._telemetry = telemetry
        self._pool = pool
        self._upscalers: dict[tuple[tuple[int, int], tuple[int, int], int, int], MaskUpscaler] = {}

    async def predict(
        self,
        hot: HotImage,
        prompts: Sequence[Prompt],
        *,
        placement: Placement | None,
        multimask_output: bool,
        patch: Patch | None,
        timings: DecodeTimings,
    ) -> list[tuple[DecodedMask, ...]]:
        """Returns one mask per prompt, or three with multimask_output, in the order asked.

        Raises:
            PromptNotSupported: The model was not trained on such prompts.
        """
        manifest = hot.model.bundle.manifest
        check_kinds(prompts, manifest.prompts, manifest.name)
        offset = (placement.offset_x_px, placement.offset_y_px) if placement else (0, 0)
        canvas = CanvasMap(hot.image_size, hot.input_size, offset)
        results: list[tuple[DecodedMask, ...]] = [()] * len(prompts)
        for batch in batches(prompts, canvas, MAX_BATCH):
            # One call a batch: a cancelled or expired request stops between two of them.
            masks = await self._pool.run(self._run, hot, batch, multimask_output, offset, timings)
            if self._telemetry is not None:
                self._telemetry.batch_ran(manifest.name, len(batch.indices))
            for index, result in zip(batch.indices, masks, strict=True):
                results[index] = result
        if patch is not None:
            full_size = placement.full_size if placement else hot.image_size
            boxes = [prompt.box for prompt in prompts]
            results = await self._pool.run(_refine, results, boxes, patch, full_size, timings)
        return results

    def _run(
        self, hot: HotImage, batch: PromptBatch, multimask_output: bool, offset: tuple[int, int], timings: DecodeTimings
    ) -> list[tuple[DecodedMask, ...]]:
        begin = time.perf_counter()
        low_res = hot.model.decoder.decode(hot.prepared, batch.point_coords, batch.point_labels, batch.mask_input)
        middle = time.perf_counter()
        manifest = hot.model.bundle.manifest
        upscale = self._upscaler(hot)
        decoded = [
            tuple(
                _decoded(
                    low_res.low_res_masks[index, mask],
                    float(low_res.iou_predictions[index, mask]),
                    upscale,
                    manifest.mask_threshold,
                    offset,
                )
                for mask in self._chosen(low_res.low_res_masks[index], manifest, multimask_output)
            )
            for index in range(len(batch.indices))
        ]
        timings.decode_ms += (middle - begin) * 1000
        timings.postprocess_ms += (time.perf_counter() - middle) * 1000
        return decoded

    @staticmethod
    def _chosen(logits: NDArray[np.float32], manifest: Manifest, multimask_output: bool) -> tuple[int, ...]:
        return three_candidates(logits, manifest.mask_threshold, manifest.prompts) if multimask_output else (0,)

    def _upscaler(self, hot: HotImage) -> MaskUpscaler:
        manifest = hot.model.bundle.manifest
        key = (hot.image_size, hot.input_size, manifest.image_size, manifest.low_res_mask_size)
        upscaler = self._upscalers.get(key)
        if upscaler is None:
            upscaler = MaskUpscaler(*key)
            if len(self._upscalers) >= _UPSCALERS_KEPT:
                self._upscalers.clear()
            self._upscalers[key] = upscaler
        return upscaler


def _decoded(
    logits: NDArray[np.float32], score: float, upscale: MaskUpscaler, threshold: float, offset: tuple[int, int]
) -> DecodedMask:
    window = upscale(logits, threshold)
    reason = EmptyReason.NOT_EMPTY
    if not window.area:
        reason = EmptyReason.OUTSIDE_IMAGE if window.any_logit_above else EmptyReason.NO_LOGIT_ABOVE_THRESHOLD
    return DecodedMask(window.moved(*offset), score, reason, logits)


def _refine(
    results: list[tuple[DecodedMask, ...]],
    boxes: list[Box | None],
    patch: Patch,
    full_size: tuple[int, int],
    timings: DecodeTimings,
) -> list[tuple[DecodedMask, ...]]:
    begin = time.perf_counter()
    refined = [
        tuple(_refined(mask, box, patch, full_size) for mask in masks)
        for masks, box in zip(results, boxes, strict=True)
    ]
    timings.postprocess_ms += (time.perf_counter() - begin) * 1000
    return refined


def _refined(mask: DecodedMask, box: Box | None, patch: Patch, full_size: tuple[int, int]) -> DecodedMask:
    refined, outcome = refine_bright(mask.window.full(full_size), box, patch)
    return DecodedMask(mask.window, mask.iou_prediction, mask.empty_reason, mask.low_res_mask, refined, outcome)
