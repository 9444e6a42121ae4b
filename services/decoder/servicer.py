"""DecoderService: messages to the decoding core and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from hilum.codec.generation import parameters_from_message
from hilum.codec.tensors import check_answer_bytes
from hilum.generation import GenerationProgress
from hilum.serving.byte_budget import ByteBudget
from hilum.serving.newest import unhindered
from hilum.serving.overload import ComputePool
from hilum.serving.telemetry import rpc_facts
from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import decoder_service_pb2_grpc, image_pb2
from services.decoder.answers import timings_to_message
from services.decoder.automatic import MaskGeneration, SearchedCrop
from services.decoder.decoding import DecodeTimings, Decoding
from services.decoder.dragging import Dragging
from services.decoder.embeddings import HotImage, HotImages
from services.decoder.generation import messages, placed, whole
from services.decoder.prompting import Prompting, check_encoding, check_number, check_revision


class DecoderServicer(decoder_service_pb2_grpc.DecoderServiceServicer):
    """Serves a Decoding and a MaskGeneration over HotImages.

    Args:
        images: Where embeddings are found.
        decoding: The core for prompts.
        generation: The core that finds everything.
        held: What streams take their bytes from.
        pool: Threads in which masks are encoded.
        max_image_pixels: Largest full image accepted.
        max_message_bytes: Largest answer.
    """

    def __init__(
        self,
        images: HotImages,
        decoding: Decoding,
        generation: MaskGeneration,
        *,
        held: ByteBudget,
        pool: ComputePool,
        max_image_pixels: int,
        max_message_bytes: int,
    ) -> None:
        self._prompting = Prompting(
            images, decoding, pool=pool, max_image_pixels=max_image_pixels, max_message_bytes=max_message_bytes
        )
        self._dragging = Dragging(self._prompting, held)
        self._generation = generation
        self._pool = pool
        self._max_image_pixels = max_image_pixels
        self._max_message_bytes = max_message_bytes

    async def PredictMasks(  # noqa: N802 - the contract's name
        self, request: pb.PredictMasksRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> pb.PredictMasksResponse:
        """Predicts masks for many prompts of one image."""
        timings = DecodeTimings()
        self._prompting.refuse_if_full()
        check_number(request.prompts)
        image = await self._prompting.prompted(request)
        timings.embedding_ms = timings.total_ms()
        response = await self._prompting.answer(image, request.prompts, timings)
        rpc_facts().add(
            prompts=len(request.prompts), embedding_origin=image.origin.name.lower(), decode_ms=timings.decode_ms
        )
        return response

    async def StreamPredictMasks(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.StreamPredictMasksRequest],
        context: grpc.aio.ServicerContext[object, object],
    ) -> AsyncIterator[pb.StreamPredictMasksResponse]:
        """Predicts masks for the newest of prompts that replace each other."""
        async with aclosing(self._dragging.answers(request_iterator)) as answers:
            async for answer in answers:
                yield answer

    async def GenerateMasks(  # noqa: N802
        self, request: pb.GenerateMasksRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[pb.GenerateMasksResponse]:
        """Finds everything in an image, with progress."""
        timings = DecodeTimings()
        check_encoding(request.mask_encoding)
        packed = request.mask_encoding == image_pb2.MASK_ENCODING_PACKED_BITS
        parameters = parameters_from_message(request)
        image, origin = await self._prompting.found(request)
        manifest, size = image.model.bundle.manifest, image.image_size
        check_revision(request.decoder_revision, manifest)
        if packed:
            check_answer_bytes(size[0] * -(-size[1] // 8), "mask_encoding", max_bytes=self._max_message_bytes)
        crops = [whole(image), *[await self._crop(crop, index, image) for index, crop in enumerate(request.crops)]]
        timings.embedding_ms = timings.total_ms()
        count = 0
        async with (
            # A reader that is slow does not keep the search, and its permit, waiting.
            aclosing(unhindered(self._generation.generate(crops, parameters, timings), GenerationProgress)) as events,
            aclosing(messages(events, size, packed=packed, pool=self._pool)) as answers,
        ):
            async for answer in answers:
                count += len(answer.masks.masks)
                yield answer
        rpc_facts().add(masks=count, embedding_origin=origin.name.lower(), decode_ms=timings.decode_ms)
        yield pb.GenerateMasksResponse(
            summary=pb.GenerationSummary(
                mask_count=count,
                model=manifest.name,
                encoder_revision=manifest.encoder_revision,
                decoder_revision=manifest.decoder_revision,
                timings=timings_to_message(timings, origin),
            )
        )

    async def _crop(self, crop: pb.GenerationCrop, index: int, image: HotImage) -> SearchedCrop:
        field = f"crops[{index}]"
        hot, _ = await self._prompting.found(crop, f"{field}.")
        return placed(crop, field, hot, image, max_image_pixels=self._max_image_pixels)
