"""What the wire costs: PredictMasks and EncodeImage over gRPC against the same work in process.

Real service processes and a real Valkey server on loopback; one client; LiteMedSAM; a 512 x 512 image. Run alone with
`python -m benchmarks.serving`.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from benchmarks.report import main
from hilum.codec.embeddings import embedding_values_from_message
from hilum.codec.images import EncodingOptions, options_to_message, size_from_message
from hilum.codec.masks import window_to_message
from hilum.codec.prompts import prompt_to_message
from hilum.codec.tensors import tensor_to_message
from hilum.connection import answered, open_channel
from hilum.digest import image_digest
from hilum.serving.bundle import find_bundle
from hilum.types import Box, Prompt, Window
from hilum.v1 import decoder_service_pb2 as decoder_pb
from hilum.v1 import decoder_service_pb2_grpc, encoder_service_pb2_grpc, image_pb2
from hilum.v1 import encoder_service_pb2 as encoder_pb
from services.decoder.mask_decoder import OnnxMaskDecoder
from services.decoder.postprocess import MaskUpscaler
from services.decoder.prompts import CanvasMap, batches
from tests.integration.processes import Process, decoder_of, free_port, service, valkey

SIZE = 512
PROMPT = Prompt(box=Box(180, 150, 340, 330))
COLD_DECODERS = 5
WARM_PROMPTS = 9

Call = Callable[[], Awaitable[object]]


def image() -> NDArray[np.int16]:
    """Returns a bright ellipse on noise, (512, 512)."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    ellipse = ((rows - 240) / 90) ** 2 + ((columns - 260) / 80) ** 2 < 1
    pixels: NDArray[np.int16] = (np.random.default_rng(1).normal(0, 60, (SIZE, SIZE)) + 300 * ellipse).astype(np.int16)
    return pixels


async def interleaved(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Returns each call's durations in ms, the calls taken in turn so that they share the machine's moods."""
    durations: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            await call()
            durations[name].append((time.perf_counter() - begin) * 1000)
    return durations


def in_process(embedding: image_pb2.Embedding) -> Call:
    """Returns the decoder's work without the wire: graph, full-size postprocessing, mask encoding."""
    bundle = find_bundle("lite-medsam")
    decoder = OnnxMaskDecoder(bundle, threads=1)
    prepared = decoder.prepare(embedding_values_from_message(embedding, "embedding")[None].astype(np.float32))
    sizes = size_from_message(embedding.image_size), size_from_message(embedding.input_size)
    upscale = MaskUpscaler(*sizes, bundle.manifest.image_size, bundle.manifest.low_res_mask_size)
    (batch,) = batches([PROMPT], CanvasMap(*sizes), 16)

    async def call() -> image_pb2.Mask:
        masks = decoder.decode(prepared, batch.point_coords, batch.point_labels)
        window = upscale(masks.low_res_masks[0, 0], bundle.manifest.mask_threshold)
        return window_to_message(window.mask, row=window.row, column=window.column, size=sizes[0])

    return call


async def first_prompts(encoder: Process, redis: str, request: decoder_pb.PredictMasksRequest) -> tuple[float, float]:
    """Returns the first prompt's duration on a fresh decoder, and the median of later ones, in ms."""
    with decoder_of(encoder, redis) as decoder:
        async with open_channel(decoder.address) as channel:
            # A caller's channel is open and in use before its decoder restarts.
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            stub = decoder_service_pb2_grpc.DecoderServiceStub(channel)
            durations = await interleaved({"prompt": lambda: answered(stub.PredictMasks(request))}, 1 + WARM_PROMPTS)
        if decoder.metric("hilum_cache_events_total", cache="embedding", event="hit") != 1:
            raise RuntimeError("the fresh decoder did not find the embedding in Valkey")
    return durations["prompt"][0], statistics.median(durations["prompt"][1:])


async def measured(rounds: int) -> dict[str, float]:
    """Returns the figures; see `measure`."""
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(valkey(port))
        redis = f"redis://127.0.0.1:{port}"
        encoder = stack.enter_context(service("encoder", redis_url=redis))
        decoder = stack.enter_context(decoder_of(encoder, redis))
        async with open_channel(encoder.address) as encoder_channel, open_channel(decoder.address) as decoder_channel:
            encode = encoder_service_pb2_grpc.EncoderServiceStub(encoder_channel)
            predict = decoder_service_pb2_grpc.DecoderServiceStub(decoder_channel)
            pixels = image()
            by_digest = encoder_pb.EncodeImageRequest(
                image_digest=image_digest(pixels), options=options_to_message(EncodingOptions(Window(100, 600)))
            )
            with_pixels = encoder_pb.EncodeImageRequest(return_embedding=True, pixels=tensor_to_message(pixels))
            with_pixels.MergeFrom(by_digest)
            encoded = await answered(encode.EncodeImage(with_pixels))
            prompts = decoder_pb.PredictMasksRequest(
                embedding_id=encoded.embedding_id, prompts=[prompt_to_message(PROMPT)]
            )
            calls: dict[str, Call] = {
                "rpc": lambda: answered(predict.PredictMasks(prompts)),
                "in_process": in_process(encoded.embedding),
                "cached_encode": lambda: answered(encode.EncodeImage(by_digest)),
                "empty_rpc": lambda: answered(encode.GetCapabilities(encoder_pb.GetCapabilitiesRequest())),
            }
            await interleaved(calls, 5)
            durations = await interleaved(calls, rounds)
        cold = [await first_prompts(encoder, redis, prompts) for _ in range(COLD_DECODERS)]
        if encoder.metric("hilum_encoder_runs_total") != 1:
            raise RuntimeError("the encoder ran more than once")
    medians = {name: statistics.median(values) for name, values in durations.items()}
    return {
        "predict_rpc_ms": medians["rpc"],
        "predict_in_process_ms": medians["in_process"],
        "rpc_overhead_ms": medians["rpc"] - medians["in_process"],
        "cached_encode_ms": medians["cached_encode"],
        "empty_rpc_ms": medians["empty_rpc"],
        "cached_encode_vs_empty_rpc": medians["cached_encode"] / medians["empty_rpc"],
        "cold_decoder_ms": statistics.median(first for first, _ in cold),
        "cold_decoder_vs_warm": statistics.median(first / warm for first, warm in cold),
    }


def measure(rounds: int = 100) -> dict[str, float]:
    """Returns medians in ms, and ratios; `empty_rpc` is GetCapabilities, `cold` a restarted decoder's first prompt."""
    return asyncio.run(measured(rounds))


if __name__ == "__main__":
    main(measure)
