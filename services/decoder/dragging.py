"""Prompts that replace each other: the newest is worked on, what it replaced is counted and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from hilum.codec.predictions import opening_from_message, update_from_message
from hilum.errors import HilumError, InternalError, to_status
from hilum.serving.byte_budget import ByteBudget
from hilum.serving.newest import Newest
from hilum.serving.telemetry import rpc_facts
from hilum.v1 import decoder_service_pb2 as pb
from services.decoder.decoding import DecodeTimings
from services.decoder.prompting import PromptedImage, Prompting


class Dragging:
    """Answers streams of prompts.

    Args:
        prompting: Answers prompts.
        held: What the openings of streams take their bytes from.
    """

    def __init__(self, prompting: Prompting, held: ByteBudget) -> None:
        self._prompting = prompting
        self._held = held

    async def answers(
        self, messages: AsyncIterator[pb.StreamPredictMasksRequest]
    ) -> AsyncGenerator[pb.StreamPredictMasksResponse, None]:
        """Yields an answer to the newest prompts, as long as prompts come.

        Raises:
            HilumError: What PredictMasks answers to everything but its prompts.
        """
        opening = opening_from_message(await anext(messages, None))
        with self._held.held(opening.ByteSize()):
            image = await self._prompting.prompted(opening)
            rpc_facts().add(embedding_origin=image.origin.name.lower())
            newest: Newest[pb.PromptUpdate] = Newest()
            reading = asyncio.create_task(_read(messages, newest))
            try:
                while (taken := await newest.take()) is not None:
                    update, superseded = taken
                    rpc_facts().count("superseded", superseded)
                    yield await self._answer(image, update, superseded)
                await reading
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _answer(
        self, image: PromptedImage, update: pb.PromptUpdate, superseded: int
    ) -> pb.StreamPredictMasksResponse:
        response = pb.StreamPredictMasksResponse(sequence_number=update.sequence_number, superseded=superseded)
        try:
            self._prompting.refuse_if_full()
            response.predicted.CopyFrom(await self._prompting.answer(image, update.prompts, DecodeTimings()))
        except InternalError:
            raise
        except HilumError as error:
            response.error.CopyFrom(to_status(error))
        return response


async def _read(messages: AsyncIterator[pb.StreamPredictMasksRequest], newest: Newest[pb.PromptUpdate]) -> None:
    """Reads as fast as prompts come; what went wrong is seen after the last prompts were answered."""
    last: int | None = None
    try:
        async for message in messages:
            update = update_from_message(message, last)
            last = update.sequence_number
            newest.put(update)
    finally:
        newest.close()
