"""Targets given as prompts become masks: fusion asks encoder and decoder, as any other client does."""

from __future__ import annotations

import grpc.aio

from hilum.connection import PRIORITY_KEY, TENANT_KEY
from hilum.errors import BackendUnavailable, NoContent, Unauthenticated
from hilum.patience import Patience
from hilum.segmentation import SegmentationCalls
from hilum.serving.deadline import remaining_s
from hilum.serving.priority import current_priority
from hilum.types import BoolMask, Image, IntensityMapping, Prompt

_RETRY_S = 1.0


class TargetSegmenter:
    """Segments targets through encoder and decoder.

    Args:
        encoder: Channel to the encoder.
        decoder: Channel to the decoder.
        timeout_s: Deadline of a call, where the caller's own is not earlier.
    """

    def __init__(self, encoder: grpc.aio.Channel, decoder: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._timeout_s = timeout_s

    async def outline(
        self,
        image: Image,
        prompt: Prompt,
        mapping: IntensityMapping,
        *,
        model: str,
        tenant: str,
        field: str,
    ) -> BoolMask:
        """Returns the mask of a prompt, in the image's pixels.

        Args:
            image: The image.
            prompt: What marks the target.
            mapping: How values become grey levels.
            model: Name of the model, "" for the encoder's default.
            tenant: For whom fusion asks.
            field: Path of the prompt in the request, for errors.

        Raises:
            NoContent: The mask is empty.
            HilumError: What encoder or decoder answered.
        """
        patience = Patience(self._timeout_s, remaining_s=remaining_s)
        # Who waits for a registration waits for its outlines: encoder and decoder hear of the same class.
        metadata = ((TENANT_KEY, tenant), (PRIORITY_KEY, current_priority().value))
        calls = SegmentationCalls(self._encoder, self._decoder, patience=patience, metadata=metadata)
        try:
            prediction = await calls.predict(image, [prompt], mapping=mapping, model=model)
        except (BackendUnavailable, Unauthenticated) as error:
            # gRPC's own words would name addresses inside; and it is not the caller's token that was refused, but ours.
            raise BackendUnavailable(
                "the encoder or the decoder does not answer; try again, or send masks instead of prompts",
                retry_after_s=error.retry_after_s or _RETRY_S,
            ) from error
        mask = prediction.masks[0][0].mask
        if not mask.any():
            raise NoContent("the prompt gives an empty mask; mark the target more tightly or send a mask", field=field)
        return mask
