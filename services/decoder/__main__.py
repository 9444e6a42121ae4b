"""Runs the decoder service: `python -m services.decoder`. Settings: environment variables HILUM_*."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

import numpy as np

from hilum.errors import BundleError, ConfigurationError
from hilum.serving.bundle import Bundle, find_bundle
from hilum.serving.cache_keys import EMBEDDING
from hilum.serving.embedding import EmbeddingStore
from hilum.serving.overload import ComputePool, Permits
from hilum.serving.purging import PurgeFollower
from hilum.serving.server import Server
from hilum.serving.shared_cache import shared_cache
from hilum.serving.telemetry import Telemetry
from hilum.serving.trace_export import environment_tracer
from hilum.serving.upstream import open_upstream
from hilum.types import Box, Prompt
from hilum.v1.decoder_service_pb2_grpc import add_DecoderServiceServicer_to_server
from services.decoder.automatic import MaskGeneration
from services.decoder.decoding import DecodeTimings, Decoding
from services.decoder.embeddings import DecoderModel, EncoderSource, HotImages
from services.decoder.mask_decoder import OnnxMaskDecoder
from services.decoder.servicer import DecoderServicer
from services.decoder.settings import DecoderSettings

WARM_UPS = 3
SERVICE = "hilum.v1.DecoderService"


def decoder_server(settings: DecoderSettings, bundles: list[Bundle], telemetry: Telemetry) -> Server:
    """Returns the server of these bundles, not started."""
    waiting = settings.running_permits + settings.waiting_permits
    pool = ComputePool(settings.compute_threads, waiting, telemetry=telemetry)
    shared = shared_cache(settings, EMBEDDING, telemetry)
    channels = [open_upstream(address, "encoder", settings, telemetry) for address in settings.encoders]
    models = [DecoderModel(bundle, OnnxMaskDecoder(bundle, threads=settings.intra_op_threads)) for bundle in bundles]
    images = HotImages(
        {model.bundle.manifest.encoder_revision: model for model in models},
        # What is kept in memory is the prepared image, not the embedding.
        store=EmbeddingStore(0, shared.cache, telemetry),
        source=EncoderSource(channels, timeout_s=settings.encoder_timeout_s),
        pool=pool,
        max_bytes=settings.local_cache_bytes,
        ttl_s=settings.local_ttl_s,
        telemetry=telemetry,
    )
    follower = PurgeFollower(shared.connection, images.memory, telemetry)
    permits = Permits.of_calls(settings, name="predict", telemetry=telemetry)
    server = Server(settings, telemetry, dependencies=shared.dependencies)
    decoding = Decoding(permits=permits, pool=pool, telemetry=telemetry)
    # One search at a time, beside the permits of prompts: who waits for an outline does not wait for a search.
    searches = Permits(1, settings.waiting_permits, name="generate", telemetry=telemetry)
    server.warm_ups += [partial(warm_up, images, decoding, model) for model in models]
    server.add(
        SERVICE,
        add_DecoderServiceServicer_to_server,
        DecoderServicer(
            images,
            decoding,
            MaskGeneration(permits=searches, pool=pool),
            held=server.held,
            pool=pool,
            max_image_pixels=settings.max_image_pixels,
            max_message_bytes=settings.max_message_bytes,
        ),
    )
    server.resources.push_async_callback(pool.close)
    for channel in channels:
        server.resources.push_async_callback(channel.close)
    server.resources.push_async_callback(shared.close)
    server.warm_ups.append(follower.start)
    server.resources.push_async_callback(follower.close)
    return server


async def warm_up(images: HotImages, decoding: Decoding, model: DecoderModel) -> None:
    """Prompts an image of nothing, so that the first caller does not wait for graphs, threads and tables."""
    manifest = model.bundle.manifest
    side = (manifest.image_size, manifest.image_size)
    for _ in range(WARM_UPS):
        hot = await images.prepare(
            np.zeros(manifest.embedding_shape, np.float16),
            encoder_revision=manifest.encoder_revision,
            image_size=side,
            input_size=side,
        )
        prompts = [Prompt(box=Box(0, 0, manifest.image_size / 2, manifest.image_size / 2))]
        await decoding.predict(
            hot, prompts, placement=None, multimask_output=False, patch=None, timings=DecodeTimings()
        )


async def run(settings: DecoderSettings) -> int:
    """Serves until told to stop; returns the exit code."""
    telemetry = Telemetry("decoder", log_level=settings.log_level, tracer=environment_tracer("decoder"))
    try:
        bundles = [find_bundle(name) for name in settings.models]
        server = decoder_server(settings, bundles, telemetry)
    except (BundleError, ConfigurationError) as error:
        telemetry.log.error("cannot_start", error=str(error))  # noqa: TRY400 - the operator's matter
        return 1
    return await server.run_until_signal()


if __name__ == "__main__":
    sys.exit(asyncio.run(run(DecoderSettings.load())))
