"""Servers under test: the fakes and the real services, wired as their entry points wire them, on loopback."""

import asyncio
import contextlib
import dataclasses
import hashlib
import io
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from opentelemetry.trace import Tracer

from hilum.connection import TENANT_KEY, Endpoints, channel_options
from hilum.serving.bundle import Bundle
from hilum.serving.server import Server
from hilum.serving.telemetry import Telemetry
from hilum.v1.decoder_service_pb2_grpc import DecoderServiceStub
from hilum.v1.encoder_service_pb2_grpc import EncoderServiceStub
from hilum.v1.fusion_service_pb2_grpc import FusionServiceStub
from modeling.catalogue import BOX_ONLY
from services.decoder.__main__ import decoder_server
from services.decoder.settings import DecoderSettings
from services.encoder.__main__ import encoder_server
from services.encoder.settings import EncoderSettings
from services.fusion.__main__ import fusion_server
from services.fusion.settings import FusionSettings

Value = TypeVar("Value")

TIMEOUT_S = 30.0
# Small enough that requests beyond it are cheap to send.
MAX_IMAGE_PIXELS = 1_000_000
MAX_VOLUME_BYTES = 8_000_000

_tenants = (f"tenant-{number}" for number in itertools.count())


@dataclass(frozen=True)
class Served:
    """Services under test.

    Attributes:
        kind: "fake" or "real".
        endpoints: Addresses.
        model: Name of the default model, which understands every prompt.
        box_model: Name of a model that understands boxes only.
        low_res_size: Side of its low-resolution masks.
    """

    kind: str
    endpoints: Endpoints
    model: str
    box_model: str
    low_res_size: int


class Caller:
    """One tenant of the services under test, with channels of its own.

    Attributes:
        served: The services.
        tenant: A name that no other caller has, so that no test sees another's embeddings.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self.tenant = next(_tenants)
        # Without the retry policy: every answer is seen.
        options = [option for option in channel_options() if "service_config" not in option[0]]
        where = served.endpoints
        self._channels = {
            address: grpc.insecure_channel(address, options=[*options, ("grpc.enable_retries", 0)])
            for address in {where.encoder, where.decoder, where.fusion}
        }
        self._addresses = {"Encoder": where.encoder, "Decoder": where.decoder, "Fusion": where.fusion}
        self._stubs = (
            EncoderServiceStub(self._channels[where.encoder]),
            DecoderServiceStub(self._channels[where.decoder]),
            FusionServiceStub(self._channels[where.fusion]),
        )

    def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            channel.close()

    def call(self, method: str, request: Any, *, service: str = "", **options: Any) -> Any:
        """Calls a method by name, of the first service that has it where none is named, such as Fusion."""
        stub = next(stub for stub in self._stubs if hasattr(stub, method) and type(stub).__name__.startswith(service))
        arguments = {"timeout": TIMEOUT_S, "metadata": ((TENANT_KEY, self.tenant),)} | options
        return getattr(stub, method)(request, **arguments)

    def send_bytes(self, path: str, data: bytes) -> bytes:
        """Calls a unary method with any bytes."""
        address = next(address for name, address in self._addresses.items() if name in path)
        multicallable: Any = self._channels[address].unary_unary(path)
        answer: bytes = multicallable(data, timeout=TIMEOUT_S, metadata=((TENANT_KEY, self.tenant),))
        return answer

    def stream_bytes(self, path: str, messages: list[bytes], *, timeout: float = TIMEOUT_S) -> list[bytes]:
        """Calls a method of any kind with the bytes of its messages; returns those of its answers."""
        address = next(address for name, address in self._addresses.items() if name in path)
        multicallable: Any = self._channels[address].stream_stream(path)
        return list(multicallable(iter(messages), timeout=timeout, metadata=((TENANT_KEY, self.tenant),)))


def box_only(bundle: Bundle) -> Bundle:
    """Returns a bundle as of another model, with the same weights, that was trained on boxes only."""
    name = f"{bundle.manifest.name}-box-only"
    revision = hashlib.sha256(name.encode()).hexdigest()
    manifest = dataclasses.replace(bundle.manifest, name=name, encoder_revision=revision, prompts=BOX_ONLY)
    return Bundle(bundle.folder, manifest)


@contextlib.asynccontextmanager
async def running(server: Server) -> AsyncIterator[str]:
    """Runs a server for the block; yields its address."""
    async with server.resources:
        yield await server.start()
        await server.stop()


@contextlib.asynccontextmanager
async def real_services(
    bundles: list[Bundle],
    *,
    decoder_models: list[Bundle] | None = None,
    tracer: Tracer | None = None,
    **settings: Any,
) -> AsyncIterator[Endpoints]:
    """Runs encoder, decoder and fusion, as their entry points wire them, without Redis unless `redis_url` is given."""
    common: dict[str, Any] = {
        "port": 0,
        "redis_url": None,
        "metrics_port": None,
        "tenant_source": "metadata",
        "intra_op_threads": 1,
        "max_image_pixels": MAX_IMAGE_PIXELS,
        "drain_s": 0,
        **settings,
    }
    encoder_telemetry = Telemetry("encoder", stream=io.StringIO(), tracer=tracer)
    encoder = encoder_server(EncoderSettings(**common), bundles, encoder_telemetry)
    async with running(encoder) as encoder_address:
        decoder_settings = DecoderSettings(**common, encoders=(encoder_address,))
        decoded = bundles if decoder_models is None else decoder_models
        decoder = decoder_server(decoder_settings, decoded, Telemetry("decoder", stream=io.StringIO(), tracer=tracer))
        async with running(decoder) as decoder_address:
            fusion_settings = FusionSettings(
                **common, encoder=encoder_address, decoder=decoder_address, max_volume_bytes=MAX_VOLUME_BYTES
            )
            fusion = fusion_server(fusion_settings, Telemetry("fusion", stream=io.StringIO(), tracer=tracer))
            async with running(fusion) as fusion_address:
                yield Endpoints(encoder_address, decoder_address, fusion_address)


@contextlib.contextmanager
def in_thread(context: contextlib.AbstractAsyncContextManager[Value]) -> Iterator[Value]:
    """Enters an asynchronous context manager on the event loop of a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="services-under-test", daemon=True)
    thread.start()
    try:
        value = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()
        try:
            yield value
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
