"""Runs the encoder service: `python -m services.encoder`. Settings: environment variables HILUM_*."""

from __future__ import annotations

import asyncio
import os
import sys

import grpc

from hilum.errors import BundleError, ConfigurationError
from hilum.serving.bundle import Bundle, find_bundle
from hilum.serving.cache_keys import EMBEDDING, TRANSFORM
from hilum.serving.embedding import EmbeddingStore
from hilum.serving.health import Dependency
from hilum.serving.overload import ComputePool, Permits
from hilum.serving.purging import PurgeFollower, Purging
from hilum.serving.server import Server
from hilum.serving.shared_cache import shared_cache
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import TenantKeys
from hilum.serving.trace_export import environment_tracer
from hilum.tls import Tls
from hilum.v1.encoder_service_pb2_grpc import add_EncoderServiceServicer_to_server
from services.encoder.backend import ImageEncoder
from services.encoder.encoding import Encoding, ServedModel
from services.encoder.onnx import OnnxImageEncoder
from services.encoder.servicer import EncoderServicer
from services.encoder.settings import EncoderSettings

SERVICE = "hilum.v1.EncoderService"


def image_encoder(bundle: Bundle, settings: EncoderSettings, pool: ComputePool, telemetry: Telemetry) -> ImageEncoder:
    """Returns the backend that the settings name."""
    if settings.backend == "triton":
        # tritonclient is loaded only by the servers that use it.
        from services.encoder.triton import TritonImageEncoder  # noqa: PLC0415

        return TritonImageEncoder(
            settings.triton_url,
            bundle.manifest,
            credentials=_triton_credentials(settings),
            timeout_s=settings.triton_timeout_s,
            telemetry=telemetry,
        )
    return OnnxImageEncoder(bundle.graph("image_encoder"), pool, threads=settings.intra_op_threads)


def _triton_credentials(settings: EncoderSettings) -> grpc.ChannelCredentials | None:
    """Returns what makes the connection to Triton encrypted, None for a plain one."""
    if settings.triton_ca is None:
        return None
    try:
        return Tls(settings.triton_ca, settings.tls_certificate, settings.tls_key).credentials().current()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"TLS to Triton cannot be set up: {error}") from None


def encoder_server(settings: EncoderSettings, bundles: list[Bundle], telemetry: Telemetry) -> Server:
    """Returns the server of these bundles, not started.

    Raises:
        ConfigurationError: A certificate, key or policy cannot be used, or tenants would share the published key.
    """
    if settings.tenant_source == "identity" and settings.uses_development_key and not settings.is_loopback:
        raise ConfigurationError(
            "HILUM_TENANT_SOURCE=identity needs HILUM_EMBEDDING_KEY_FILE: with the published key anyone can compute ids"
        )
    waiting = settings.running_permits + settings.waiting_permits
    pool = ComputePool(settings.compute_threads, waiting, telemetry=telemetry)
    models = {
        bundle.manifest.name: ServedModel(bundle, image_encoder(bundle, settings, pool, telemetry))
        for bundle in bundles
    }
    shared = shared_cache(settings, EMBEDDING, telemetry)
    store = EmbeddingStore(settings.local_cache_bytes, shared.cache, telemetry, local_ttl_s=settings.local_ttl_s)
    follower = PurgeFollower(shared.connection, store.memory, telemetry)
    encoding = Encoding(
        models,
        store=store,
        flight=shared.flight,
        permits=Permits.of_calls(settings, name="encode", telemetry=telemetry),
        pool=pool,
        keys=TenantKeys(settings.embedding_key_bytes),
        telemetry=telemetry,
    )
    backends = [Dependency(f"encoder-{name}", model.encoder.ready, required=True) for name, model in models.items()]
    server = Server(settings, telemetry, dependencies=[*backends, *shared.dependencies])
    server.add(
        SERVICE,
        add_EncoderServiceServicer_to_server,
        EncoderServicer(
            encoding,
            Purging(shared.connection, follower, (EMBEDDING, TRANSFORM)),
            held=server.held,
            max_image_pixels=settings.max_image_pixels,
            max_message_bytes=settings.max_message_bytes,
            max_concurrent_images=settings.running_permits,
        ),
    )
    server.resources.push_async_callback(pool.close)
    for model in models.values():
        server.resources.push_async_callback(model.encoder.close)
    server.resources.push_async_callback(shared.close)
    server.warm_ups.append(follower.start)
    server.resources.push_async_callback(follower.close)
    return server


async def run(settings: EncoderSettings) -> int:
    """Serves until told to stop; returns the exit code."""
    telemetry = Telemetry("encoder", log_level=settings.log_level, tracer=environment_tracer("encoder"))
    try:
        bundles = [find_bundle(name) for name in settings.models]
        server = encoder_server(settings, bundles, telemetry)
    except (BundleError, ConfigurationError) as error:
        telemetry.log.error("cannot_start", error=str(error))  # noqa: TRY400 - the operator's matter
        return 1
    return await server.run_until_signal()


def main() -> int:
    """Reads the settings and serves; returns the exit code."""
    settings = EncoderSettings.load()
    # Threads inherit it, so that it comes before there are any.
    os.nice(settings.niceness)
    return asyncio.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
