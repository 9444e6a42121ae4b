"""Fakes, or any servicers, on a loopback port of this process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator

import grpc.aio

from hilum.connection import Endpoints, channel_options
from hilum.testing.decoder import FakeDecoder
from hilum.testing.encoder import FakeEncoder
from hilum.testing.fusion import FakeFusion
from hilum.v1.decoder_service_pb2_grpc import DecoderServiceServicer, add_DecoderServiceServicer_to_server
from hilum.v1.encoder_service_pb2_grpc import EncoderServiceServicer, add_EncoderServiceServicer_to_server
from hilum.v1.fusion_service_pb2_grpc import FusionServiceServicer, add_FusionServiceServicer_to_server

# For calls that still run when the block ends.
_GRACE_S = 1.0


@contextlib.asynccontextmanager
async def serve_in_process(
    encoder: EncoderServiceServicer | None = None,
    decoder: DecoderServiceServicer | None = None,
    fusion: FusionServiceServicer | None = None,
) -> AsyncIterator[Endpoints]:
    """Serves on a free loopback port for as long as the block runs.

    Args:
        encoder: A new FakeEncoder where None.
        decoder: A new FakeDecoder on the encoder where None; a fake encoder is needed for that.
        fusion: A new FakeFusion where None.

    Yields:
        Addresses for Client and AsyncClient; all three are the same.
    """
    encoder = encoder or FakeEncoder()
    if decoder is None:
        if not isinstance(encoder, FakeEncoder):
            raise TypeError("a FakeDecoder needs a FakeEncoder: pass a decoder with this encoder")
        decoder = FakeDecoder(encoder)
    server = grpc.aio.server(options=channel_options())
    add_EncoderServiceServicer_to_server(encoder, server)
    add_DecoderServiceServicer_to_server(decoder, server)
    add_FusionServiceServicer_to_server(fusion or FakeFusion(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield Endpoints(address, address, address)
    finally:
        await server.stop(_GRACE_S)


@contextlib.contextmanager
def serve_in_thread(
    encoder: EncoderServiceServicer | None = None,
    decoder: DecoderServiceServicer | None = None,
    fusion: FusionServiceServicer | None = None,
) -> Iterator[Endpoints]:
    """As `serve_in_process`, from a thread of its own: for Client and other code without asyncio."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="hilum-fakes", daemon=True)
    thread.start()
    serving = serve_in_process(encoder, decoder, fusion)
    try:
        endpoints = asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result()
        try:
            yield endpoints
        finally:
            asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
