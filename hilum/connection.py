"""Channels to the three services, and what every call through them has in common."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import grpc
import grpc.aio

from hilum.errors import from_rpc_error

Answer = TypeVar("Answer")
Metadata: TypeAlias = tuple[tuple[str, str], ...]

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
IMAGE_DIGEST_KEY = "x-hilum-image-digest"
EMBEDDING_ID_KEY = "x-hilum-embedding-id"
TENANT_KEY = "x-hilum-tenant"

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
        ("grpc.service_config", json.dumps(_RETRY)),
    ]


def open_channel(address: str) -> grpc.aio.Channel:
    """Returns a channel without encryption; nothing is sent before the first call."""
    return grpc.aio.insecure_channel(address, options=channel_options())


async def answered(call: Awaitable[Answer]) -> Answer:
    """Returns a call's answer, its error as one of hilum.errors."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None


async def streamed(call: AsyncIterable[Answer]) -> AsyncIterator[Answer]:
    """Yields a call's answers, its error as one of hilum.errors."""
    try:
        async for answer in call:
            yield answer
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
