"""Masks that follow a prompt while it is dragged: the newest counts, what it replaced is left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc.aio

from hilum.codec.predictions import masks_from_response, timings_from_message
from hilum.codec.prompts import prompt_to_message
from hilum.errors import BackendUnavailable, HilumError, from_rpc_error, from_status
from hilum.region import Region
from hilum.types import ImageSource, Prediction, Prompt
from hilum.v1 import decoder_service_pb2 as pb


@dataclass(frozen=True)
class DragAnswer:
    """What came of the newest prompts.

    Attributes:
        sequence_number: Which prompts are answered: what `move` returned for them.
        superseded: How many others were replaced since the answer before, and are never answered.
        prediction: The masks; None where there are none.
        error: Why there are none, such as a box outside of the image, or overload; the next prompts may do better.
    """

    sequence_number: int
    superseded: int
    prediction: Prediction | None
    error: HilumError | None


@dataclass(frozen=True)
class Drag:
    """Dragging without asyncio; see Dragging.

    Attributes:
        move: Sends prompts in place of all before; returns their sequence number.
        answer: Waits for the next answer.
    """

    move: Callable[[Sequence[Prompt]], int]
    answer: Callable[[], DragAnswer]


class Dragging:
    """One call that stays open while prompts are dragged over an image.

    Args:
        call: A StreamPredictMasks call.
        opening: What holds for all prompts.
        source: What the image came from.
        region: What of it was encoded, None for the whole image.

    Example:
        async with await client.dragging(image) as dragging:
            await dragging.move([Prompt(box=Box(40, 60, 120, 150))])
            await dragging.move([Prompt(box=Box(40, 60, 124, 152))])
            answer = await dragging.answer()  # to the second, if it came in time
    """

    def __init__(
        self, call: Any, opening: pb.PredictMasksRequest, *, source: ImageSource, region: Region | None
    ) -> None:
        self._call = call
        self._opening: pb.PredictMasksRequest | None = opening
        self._source, self._region = source, region
        self._number = 0
        self._writing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call.cancel()

    async def move(self, prompts: Sequence[Prompt]) -> int:
        """Sends prompts in place of all before, waits for no answer, and returns their sequence number.

        Raises:
            HilumError: Why the service ended the stream; see hilum.errors.
        """
        try:
            async with self._writing:
                if self._opening is not None:
                    opening, self._opening = self._opening, None
                    await self._call.write(pb.StreamPredictMasksRequest(opening=opening))
                self._number += 1
                number = self._number
                update = pb.PromptUpdate(sequence_number=number, prompts=map(prompt_to_message, prompts))
                await self._call.write(pb.StreamPredictMasksRequest(update=update))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        except asyncio.InvalidStateError:
            raise BackendUnavailable("the service ended the stream; open another") from None
        return number

    async def answer(self) -> DragAnswer:
        """Returns the next answer; one call at a time.

        Raises:
            HilumError: Why the service ended the stream; see hilum.errors.
        """
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        if response is grpc.aio.EOF:
            raise BackendUnavailable("the service ended the stream; open another")
        return self._answer(response)

    async def __aiter__(self) -> AsyncIterator[DragAnswer]:
        """Yields answers for as long as the stream lasts."""
        while True:
            yield await self.answer()

    def _answer(self, response: pb.StreamPredictMasksResponse) -> DragAnswer:
        if response.WhichOneof("result") == "error":
            return DragAnswer(response.sequence_number, response.superseded, None, from_status(response.error))
        predicted = response.predicted
        masks = tuple(masks_from_response(predicted))
        origin = pb.EmbeddingOrigin.Name(predicted.timings.embedding_origin).removeprefix("EMBEDDING_ORIGIN_")
        prediction = Prediction(
            masks=masks,
            model=predicted.model,
            encoder_revision=predicted.encoder_revision,
            decoder_revision=predicted.decoder_revision,
            embedding_origins=(origin.lower(),),
            timings_ms=timings_from_message(predicted.timings),
            source=self._source,
            regions=(self._region,) * len(masks),
        )
        return DragAnswer(response.sequence_number, response.superseded, prediction, None)
