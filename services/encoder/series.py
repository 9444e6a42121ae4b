"""The images of one stream: a few are encoded at a time, and the stream is not read faster than they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from hilum.errors import DEFAULT_RETRY_S, HilumError, LimitExceeded, Overloaded, to_status
from hilum.serving.byte_budget import ByteBudget, HeldBytes
from hilum.v1 import encoder_service_pb2 as pb

MAX_ITEM_ID_BYTES = 128
ITEMS_IN_FLIGHT = 8

Encode = Callable[[pb.EncodeImageRequest], Awaitable[pb.EncodeImageResponse]]


@dataclass(frozen=True)
class _Item:
    """An item that was read, and the bytes that are held for it."""

    message: pb.EncodeImagesRequest
    held: HeldBytes


class Series:
    """Encodes streams of images.

    Args:
        encode: Encodes one image.
        held: What items take their bytes from.
    """

    def __init__(self, encode: Encode, held: ByteBudget) -> None:
        self._encode = encode
        self._held = held

    async def answers(
        self, items: AsyncIterator[pb.EncodeImagesRequest]
    ) -> AsyncGenerator[pb.EncodeImagesResponse, None]:
        """Yields an answer per item, as each ends."""
        more = True
        reading = asyncio.create_task(self._next(items))
        encoding: set[asyncio.Task[pb.EncodeImagesResponse]] = set()
        try:
            while more or encoding:
                waiting: set[asyncio.Task[Any]] = {*encoding}
                if more and len(encoding) < ITEMS_IN_FLIGHT:
                    waiting.add(reading)
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if reading in done:
                    item = reading.result()
                    more = item is not None
                    if item is not None:
                        encoding.add(_encoding(self._answer(item.message), item.held))
                        reading = asyncio.create_task(self._next(items))
                for task in [task for task in encoding if task in done]:
                    encoding.discard(task)
                    yield task.result()
        finally:
            # Awaited, so that nothing of the stream is left when its call has ended.
            reading.cancel()
            for task in encoding:
                task.cancel()
            await asyncio.gather(reading, *encoding, return_exceptions=True)
            unread = None if reading.cancelled() or reading.exception() else reading.result()
            if unread is not None:
                unread.held.release()

    async def _next(self, items: AsyncIterator[pb.EncodeImagesRequest]) -> _Item | None:
        """Returns the next item, as soon as there is room for its bytes; None after the last."""
        message = await anext(items, None)
        return None if message is None else _Item(message, await self._held.take_in_turn(message.ByteSize()))

    async def _answer(self, item: pb.EncodeImagesRequest) -> pb.EncodeImagesResponse:
        try:
            if len(item.item_id.encode()) > MAX_ITEM_ID_BYTES:
                raise LimitExceeded(f"more than {MAX_ITEM_ID_BYTES} bytes", field="item_id")
            return pb.EncodeImagesResponse(item_id=item.item_id, encoded=await self._in_turn(item.image))
        except HilumError as error:
            return pb.EncodeImagesResponse(item_id=item.item_id, error=to_status(error))

    async def _in_turn(self, image: pb.EncodeImageRequest) -> pb.EncodeImageResponse:
        """Encodes when there is a permit: the stream waits, and its caller cannot send more meanwhile."""
        while True:
            try:
                return await self._encode(image)
            except Overloaded as full:
                await asyncio.sleep(full.retry_after_s or DEFAULT_RETRY_S)


def _encoding(
    answer: Coroutine[Any, Any, pb.EncodeImagesResponse], held: HeldBytes
) -> asyncio.Task[pb.EncodeImagesResponse]:
    task = asyncio.create_task(answer)
    # Also when it is cancelled before it has begun.
    task.add_done_callback(lambda _: held.release())
    return task
