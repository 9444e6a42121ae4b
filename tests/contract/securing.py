"""The real services with TLS and identities, and callers of every kind."""

import contextlib
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from hilum.connection import Endpoints
from hilum.errors import from_rpc_error
from hilum.serving.bundle import Bundle
from hilum.serving.server import Server
from hilum.serving.telemetry import Telemetry
from services.decoder.__main__ import decoder_server
from services.decoder.settings import DecoderSettings
from services.development_ca import service_environment
from services.encoder.__main__ import encoder_server
from services.encoder.settings import EncoderSettings
from services.fusion.__main__ import fusion_server
from services.fusion.settings import FusionSettings
from tests.contract.wiring import MAX_IMAGE_PIXELS, MAX_VOLUME_BYTES, TIMEOUT_S, running

UNRETRIED = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]


def signing_key(folder: Path, name: str = "jwt") -> Ed25519PrivateKey:
    """Returns the private key in a development folder."""
    key = load_pem_private_key((folder / f"{name}-key.pem").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def settings_of(folder: Path, service: str, **changed: Any) -> dict[str, Any]:
    """Returns a service's settings for a development folder."""
    known = {
        "port": 0,
        "redis_url": None,
        "metrics_port": None,
        "intra_op_threads": 1,
        "max_image_pixels": MAX_IMAGE_PIXELS,
        "drain_s": 0,
    }
    secure = {
        name.removeprefix("HILUM_").lower(): value for name, value in service_environment(folder, service).items()
    }
    return known | secure | changed


@contextlib.asynccontextmanager
async def secured_services(bundle: Bundle, folder: Path, **changed: Any) -> AsyncIterator[Endpoints]:
    """Runs encoder, decoder and fusion, as their entry points wire them, without Redis."""

    def telemetry(name: str) -> Telemetry:
        return Telemetry(name, stream=io.StringIO())

    encoder = encoder_server(
        EncoderSettings(**settings_of(folder, "encoder", **changed)), [bundle], telemetry("encoder")
    )
    async with running(encoder) as at_encoder:
        settings = DecoderSettings(**settings_of(folder, "decoder", encoders=(at_encoder,), **changed))
        async with running(decoder_server(settings, [bundle], telemetry("decoder"))) as at_decoder:
            upstream = {"encoder": at_encoder, "decoder": at_decoder, "max_volume_bytes": MAX_VOLUME_BYTES}
            fusion: Server = fusion_server(
                FusionSettings(**settings_of(folder, "fusion", **upstream, **changed)), telemetry("fusion")
            )
            async with running(fusion) as at_fusion:
                yield Endpoints(at_encoder, at_decoder, at_fusion)


def credentials(folder: Path, client: str | None = "service-client") -> grpc.ChannelCredentials:
    """Returns channel credentials with a client's certificate, or without."""
    ca = (folder / "ca.pem").read_bytes()
    if client is None:
        return grpc.ssl_channel_credentials(ca)
    key, certificate = (folder / f"{client}-key.pem").read_bytes(), (folder / f"{client}.pem").read_bytes()
    return grpc.ssl_channel_credentials(ca, key, certificate)


class SecuredCaller:
    """Channels to secured services, without retries: every answer is seen.

    Args:
        endpoints: Addresses.
        credentials: Of all channels; None for plain ones.
    """

    def __init__(self, endpoints: Endpoints, credentials: grpc.ChannelCredentials | None) -> None:
        addresses = {"Encoder": endpoints.encoder, "Decoder": endpoints.decoder, "Fusion": endpoints.fusion}
        self._channels = {
            name: grpc.insecure_channel(address, options=UNRETRIED)
            if credentials is None
            else grpc.secure_channel(address, credentials, options=UNRETRIED)
            for name, address in addresses.items()
        }

    def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            channel.close()

    def channel(self, path: str) -> Any:
        """Returns the channel to the service of a method."""
        return next((channel for name, channel in self._channels.items() if name in path), self._channels["Encoder"])

    def call(self, path: str, request: Any, token: str | None) -> Any:
        """Calls a method of the contract; returns its answer, or the list of its answers."""
        service, method = path[1:].split("/")
        described = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
        ends = (described.client_streaming, described.server_streaming)
        kind = "_".join("stream" if streams else "unary" for streams in ends)
        multi_callable = getattr(self.channel(path), kind)(path, _bytes)
        requests = request if isinstance(request, Iterator) or not described.client_streaming else iter([request])
        metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        answer = multi_callable(requests, timeout=TIMEOUT_S, metadata=metadata)
        parse = GetMessageClass(described.output_type).FromString
        return [parse(data) for data in answer] if described.server_streaming else parse(answer)

    def reason(self, path: str, request: Any, token: str | None) -> str:
        """Returns the reason that a call is refused for, "" where it is answered."""
        try:
            self.call(path, request, token)
        except grpc.RpcError as error:
            return from_rpc_error(error).reason
        return ""


def _bytes(message: Any) -> bytes:
    data: bytes = message if isinstance(message, bytes) else message.SerializeToString()
    return data
