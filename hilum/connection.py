"""Channels to the three services, and what every call through them has in common."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import grpc
import grpc.aio

from hilum.errors import BackendUnavailable, ConfigurationError, HilumError, from_rpc_error
from hilum.secured_channel import SecuredChannel, TokenProvider
from hilum.tls import Tls
from hilum.watched_files import WatchedFiles

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

Answer = TypeVar("Answer")
Metadata: TypeAlias = tuple[tuple[str, str], ...]

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_RECONNECT_S = 0.1
# In place of what a service said while a request was still being written: https://github.com/grpc/grpc/issues/36066
STATUS_LOST = "Internal error from Core"
IMAGE_DIGEST_KEY = "x-hilum-image-digest"
EMBEDDING_ID_KEY = "x-hilum-embedding-id"
TENANT_KEY = "x-hilum-tenant"
PRIORITY_KEY = "x-hilum-priority"

# UNAVAILABLE is tried again: the request did not reach a service, or the service said to come back. And CANCELLED, when
# the caller has not cancelled: so gRPC answers requests that reach a server in the moment in which it begins to drain.
_RETRY = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ]
}


@dataclass(frozen=True)
class Endpoints:
    """Addresses of the services, in gRPC's notation; they may be one and the same behind a proxy."""

    encoder: str = "127.0.0.1:50051"
    decoder: str = "127.0.0.1:50052"
    fusion: str = "127.0.0.1:50053"

    @classmethod
    def from_environment(cls) -> Endpoints:
        """Returns the addresses in HILUM_ENCODER, HILUM_DECODER and HILUM_FUSION, loopback where they are not set."""
        default = cls()
        return cls(
            os.environ.get("HILUM_ENCODER", default.encoder),
            os.environ.get("HILUM_DECODER", default.decoder),
            os.environ.get("HILUM_FUSION", default.fusion),
        )


def channel_options(max_message_bytes: int = MAX_MESSAGE_BYTES) -> list[tuple[str, int | str]]:
    """Returns the options of every channel: message sizes and the retry policy."""
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.enable_retries", 1),
        # Pixels too are sent again: a request that is larger than this is not.
        ("grpc.per_rpc_retry_buffer_size", max_message_bytes),
        ("grpc.service_config", json.dumps(_RETRY)),
    ]


def open_channel(
    address: str,
    *,
    tls: Tls | None = None,
    token: TokenProvider | Path | None = None,
    allow_insecure: bool = False,
    tracer: Tracer | None = None,
) -> grpc.aio.Channel:
    """Returns a channel; nothing is sent before the first call.

    Args:
        address: In gRPC's notation.
        tls: Makes it encrypted; None for a plain connection.
        token: Returns the bearer token of a call, or a file that holds it, read again when it changes; None for none.
        allow_insecure: Let a token travel without encryption beyond this machine, as inside a mesh that encrypts.
        tracer: Makes an OpenTelemetry span of every call; needs the extra `tracing`. None for none.

    Raises:
        OSError: A file cannot be read.
        ConfigurationError: A file does not hold what it should, or a token would travel in the clear.
    """
    interceptors = call_interceptors(tracer)

    def opened(credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
        if credentials is None:
            return grpc.aio.insecure_channel(address, options=channel_options(), interceptors=interceptors)
        return grpc.aio.secure_channel(address, credentials, options=channel_options(), interceptors=interceptors)

    if tls is None and token is None:
        return opened(None)
    if tls is None and not allow_insecure and not _is_loopback(address):
        raise ConfigurationError(f"a token would travel to {address} without encryption: use TLS")
    try:
        provider = WatchedFiles([token], _token_text).current if isinstance(token, Path) else token
        credentials = None if tls is None else tls.credentials()
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return SecuredChannel(opened, credentials=credentials, token=provider)


def call_interceptors(tracer: Tracer | None) -> list[grpc.aio.ClientInterceptor]:
    """Returns what every call of a channel goes through; nothing without a tracer."""
    if tracer is None:
        return []
    from hilum.tracing import tracing_interceptors  # noqa: PLC0415  # an extra, loaded only where it is used

    return tracing_interceptors(tracer)


def _token_text(contents: Sequence[bytes]) -> str:
    text = contents[0].decode("ascii").strip()
    if not text or not text.isprintable() or " " in text:
        raise ValueError("the token's file must hold one token and nothing else")
    return text


def _is_loopback(address: str) -> bool:
    host = address.rsplit(":", 1)[0].rsplit("/", 1)[-1].strip("[]")
    return address.startswith("unix:") or host in {"127.0.0.1", "::1", "localhost"}


async def answered(call: Awaitable[Answer]) -> Answer:
    """Returns a call's answer, its error as one of hilum.errors; CutOff where the connection was lost amid it."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise _fault(error, begun=False) from None


class CutOff(BackendUnavailable):
    """The connection was lost when part of the answer had arrived, or the answer's status was.

    gRPC does not try such calls again itself.
    """


async def streamed(call: AsyncIterable[Answer]) -> AsyncIterator[Answer]:
    """Yields a call's answers, its error as one of hilum.errors; CutOff where they end without the service's word."""
    begun = False
    try:
        async for answer in call:
            begun = True
            yield answer
    except grpc.aio.AioRpcError as error:
        raise _fault(error, begun=begun) from None


def _fault(error: grpc.aio.AioRpcError, *, begun: bool) -> HilumError:
    fault = from_rpc_error(error)
    if fault.message == STATUS_LOST:
        return CutOff("gRPC lost the service's answer; call again", retry_after_s=_RECONNECT_S)
    # An answer's headers are its first part, and those of a proxy are never empty.
    begun = begun or bool(error.initial_metadata())
    # A service that says itself that it cannot serve says when to come back, too.
    if begun and isinstance(fault, BackendUnavailable) and fault.retry_after_s is None:
        return CutOff(fault.message, retry_after_s=_RECONNECT_S)
    return fault
