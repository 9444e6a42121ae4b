"""The decoder at twice the load that saturates it: goodput, latency of admitted clicks, speed of refusals.

    make bench-load

Real processes on loopback. The decoder has one core to itself, as far as the machine allows; the generator, the encoder
and Valkey, which are idle while it is measured, have another. Clicks are single boxes on images that the decoder holds
hot. Unloaded: one caller, one call at a time. Saturation: more callers than permits, and no refusals. Then calls arrive
at twice that rate, at random moments, whether earlier ones are answered or not, and are not tried again. The three take
turns, so that they share the machine's moods; what happens in the first moments of a phase does not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import grpc.aio
import numpy as np
import psutil

from benchmarks.report import main
from benchmarks.serving import PROMPT, image
from hilum.codec.images import EncodingOptions, options_to_message
from hilum.codec.prompts import prompt_to_message
from hilum.codec.tensors import tensor_to_message
from hilum.connection import EMBEDDING_ID_KEY, answered, channel_options, open_channel
from hilum.digest import image_digest
from hilum.errors import Overloaded, from_rpc_error
from hilum.types import Window
from hilum.v1 import decoder_service_pb2 as decoder_pb
from hilum.v1 import decoder_service_pb2_grpc, encoder_service_pb2_grpc
from hilum.v1 import encoder_service_pb2 as encoder_pb
from tests.integration.processes import Process, decoder_of, free_port, service, valkey

IMAGES = 4
ROUNDS = 3
WARM_UP_S = 2.0
UNLOADED_S, SATURATION_S, OVERLOAD_S = 4.0, 5.0, 8.0
# Of one core: a permit for the one click that it can compute, and places for a burst of four.
CAPACITY = {"compute_threads": "1", "running_permits": "1", "reserved_permits": "0", "waiting_permits": "4"}
CALLERS = 2
TIMEOUT_S = 30.0
_RETRYING = ("grpc.service_config", "grpc.enable_retries")


@dataclass(frozen=True)
class Outcome:
    """One call.

    Attributes:
        ended_s: When it ended, after the phase began.
        duration_s: How long it took.
        refused: Whether it was refused as too much.
        retry_after_s: When a refusal said to come back, None where it did not say.
    """

    ended_s: float
    duration_s: float
    refused: bool = False
    retry_after_s: float | None = None


class Clicks:
    """Sends clicks to a decoder and notes what became of them.

    Args:
        channel: To the decoder, without retries.
        embedding_ids: Of images that it knows; clicks go round them.
    """

    def __init__(self, channel: grpc.aio.Channel, embedding_ids: Sequence[bytes]) -> None:
        self._stub = decoder_service_pb2_grpc.DecoderServiceStub(channel)
        self._requests = [
            decoder_pb.PredictMasksRequest(embedding_id=identity, prompts=[prompt_to_message(PROMPT)])
            for identity in embedding_ids
        ]
        self._sent = 0

    async def click(self, began: float) -> Outcome:
        """Sends one; `began` is the phase's start on time.perf_counter's clock."""
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        sent = time.perf_counter()
        metadata = ((EMBEDDING_ID_KEY, request.embedding_id.hex()),)
        try:
            await self._stub.PredictMasks(request, timeout=TIMEOUT_S, metadata=metadata)
        except grpc.aio.AioRpcError as failure:
            error = from_rpc_error(failure)
            if not isinstance(error, Overloaded):
                raise error from None
            now = time.perf_counter()
            return Outcome(now - began, now - sent, refused=True, retry_after_s=error.retry_after_s)
        now = time.perf_counter()
        return Outcome(now - began, now - sent)

    async def closed_loop(self, callers: int, seconds: float) -> list[Outcome]:
        """Lets callers click, each as soon as its last call is answered."""
        began = time.perf_counter()

        async def caller() -> list[Outcome]:
            outcomes = []
            while time.perf_counter() - began < seconds:
                outcomes.append(await self.click(began))
            return outcomes

        return [
            outcome for outcomes in await asyncio.gather(*(caller() for _ in range(callers))) for outcome in outcomes
        ]

    async def open_loop(self, per_s: float, seconds: float, seed: int = 0) -> list[Outcome]:
        """Lets calls arrive as a Poisson process, whatever becomes of earlier ones."""
        gaps = np.random.default_rng(seed).exponential(1 / per_s, round(per_s * seconds))
        began = time.perf_counter()
        calls = []
        for arrival in np.cumsum(gaps):
            await asyncio.sleep(max(0.0, began + arrival - time.perf_counter()))
            calls.append(asyncio.create_task(self.click(began)))
        return list(await asyncio.gather(*calls))


def quantile(values: Sequence[float], share: float) -> float:
    """Returns the value below which a share of the values lies."""
    return float(np.quantile(np.asarray(values), share))


@dataclass(frozen=True)
class Round:
    """The three phases, once; and the decoder's processor time in the second, in seconds."""

    unloaded: Sequence[Outcome]
    saturated: Sequence[Outcome]
    overloaded: Sequence[Outcome]
    saturated_cpu_s: float


def per_second(phases: Sequence[Sequence[Outcome]], seconds: float) -> float:
    """Returns how many calls were answered with masks a second, between warm-up and a phase's end, over all rounds."""
    good = sum(not one.refused and WARM_UP_S <= one.ended_s < seconds for phase in phases for one in phase)
    return good / (seconds - WARM_UP_S) / len(phases)


def figures(rounds: Sequence[Round]) -> dict[str, float]:
    """Returns what the rounds say; durations in ms."""
    calm = [1000 * one.duration_s for each in rounds for one in each.unloaded if one.ended_s >= WARM_UP_S]
    late = [one for each in rounds for one in each.overloaded if one.ended_s >= WARM_UP_S]
    admitted = [1000 * one.duration_s for one in late if not one.refused]
    refusals = [one for one in late if one.refused]
    saturation = per_second([each.saturated for each in rounds], SATURATION_S)
    goodput = per_second([each.overloaded for each in rounds], OVERLOAD_S)
    answered_clicks = sum(len(each.saturated) for each in rounds)
    service_ms = statistics.median(calm)
    result = {
        "load_unloaded_ms": service_ms,
        "load_unloaded_p99_ms": quantile(calm, 0.99),
        "load_cpu_ms_per_click": 1000 * sum(each.saturated_cpu_s for each in rounds) / answered_clicks,
        "load_saturation_clicks_per_s": saturation,
        "load_offered_clicks_per_s": sum(len(each.overloaded) for each in rounds) / OVERLOAD_S / len(rounds),
        "load_goodput_clicks_per_s": goodput,
        "load_goodput_vs_saturation": goodput / saturation,
        "load_admitted_ms": statistics.median(admitted),
        "load_admitted_p99_ms": quantile(admitted, 0.99),
        "load_admitted_p99_vs_allowed": quantile(admitted, 0.99) / (2 * quantile(calm, 0.99) + service_ms),
        "load_refused_share": len(refusals) / len(late),
    }
    if refusals:
        refused_p99_ms = quantile([1000 * one.duration_s for one in refusals], 0.99)
        result |= {
            "load_refused_p99_ms": refused_p99_ms,
            "load_refused_p99_vs_admitted": refused_p99_ms / statistics.median(admitted),
            "load_refusals_with_push_back": sum(bool(one.retry_after_s) for one in refusals) / len(refusals),
        }
    return result


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keeps this thread, and processes that it starts, on one core inside the block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def pinned(of_decoder: int, of_others: int) -> Iterator[tuple[Process, Process, str]]:
    """Runs a decoder on one core, its encoder and Valkey on another; yields both services and Valkey's URL."""
    with ExitStack() as stack:
        with on_core(of_others):
            port = free_port()
            stack.enter_context(valkey(port))
            redis = f"redis://127.0.0.1:{port}"
            encoder = stack.enter_context(service("encoder", redis_url=redis))
        with on_core(of_decoder):
            decoder = stack.enter_context(decoder_of(encoder, redis, **CAPACITY))
        yield decoder, encoder, redis


async def encoded(encoder: Process, count: int) -> list[bytes]:
    """Encodes different images, one after the other; returns their embedding ids."""
    ids = []
    async with open_channel(encoder.address) as channel:
        encode = encoder_service_pb2_grpc.EncoderServiceStub(channel)
        for number in range(count):
            pixels = np.roll(image(), 4 * number, axis=1)
            request = encoder_pb.EncodeImageRequest(
                image_digest=image_digest(pixels),
                options=options_to_message(EncodingOptions(Window(100, 600))),
                pixels=tensor_to_message(pixels),
            )
            ids.append((await answered(encode.EncodeImage(request))).embedding_id)
    return ids


async def one_round(clicks: Clicks, decoder: psutil.Process) -> Round:
    """Lets the three phases follow each other."""
    unloaded = await clicks.closed_loop(1, UNLOADED_S)
    before = decoder.cpu_times()
    saturated = await clicks.closed_loop(CALLERS, SATURATION_S)
    after = decoder.cpu_times()
    overloaded = await clicks.open_loop(2 * per_second([saturated], SATURATION_S), OVERLOAD_S)
    return Round(unloaded, saturated, overloaded, after.user + after.system - before.user - before.system)


async def measured(decoder: Process, encoder: Process) -> dict[str, float]:
    """Returns the figures of a running decoder."""
    options = [option for option in channel_options() if option[0] not in _RETRYING]
    async with grpc.aio.insecure_channel(decoder.address, options=[*options, ("grpc.enable_retries", 0)]) as channel:
        clicks = Clicks(channel, await encoded(encoder, IMAGES))
        return figures([await one_round(clicks, psutil.Process(decoder.pid)) for _ in range(ROUNDS)])


def measure() -> dict[str, float]:
    """Returns goodput, latencies and refusals at twice the load that saturates one decoder on one core.

    Raises:
        RuntimeError: Fewer than two cores: generator and decoder would measure each other.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RuntimeError("two cores are needed, one for the decoder and one for the load generator")
    of_decoder, of_others = cores[0], cores[1]
    print(f"decoder on core {of_decoder}; generator, encoder and Valkey on core {of_others}")
    with pinned(of_decoder, of_others) as (decoder, encoder, _), on_core(of_others):
        return {**asyncio.run(measured(decoder, encoder)), "load_decoder_cores": 1, "load_generator_cores": 1}


if __name__ == "__main__":
    main(measure)
