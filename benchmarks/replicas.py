"""One, two and three real decoders: clicks a second, and hit rates, beside what the simulation says of the same clicks.

    python -m benchmarks.replicas

Real processes on loopback; the generator chooses the replica, as a proxy would. Each decoder keeps a few images hot
only, so that it matters who is asked. Clicks follow one another, so that hits do not depend on time: the simulation
must count the very same ones, also after one of three replicas was killed, or this ends with an error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass

import numpy as np
import psutil
import redis

from benchmarks.load import encoded
from benchmarks.replica_choice import Choice, RingHash, RoundRobin
from benchmarks.replicas_simulation import Click, Replica, simulate, zipf_clicks
from benchmarks.report import main
from benchmarks.serving import PROMPT
from hilum.codec.prompts import prompt_to_message
from hilum.connection import answered, open_channel
from hilum.serving.cache_keys import EMBEDDING, PREFIX
from hilum.serving.settings import ServiceSettings
from hilum.v1 import decoder_service_pb2 as decoder_pb
from hilum.v1 import decoder_service_pb2_grpc
from tests.integration.processes import Process, decoder_of, free_port, service, valkey

IMAGES, HOT_IMAGES, CLICKS = 12, 4, 80
EXPONENT = 0.7
# With three replicas, no more than one of them takes at once should all choose it.
CALLERS_PER_REPLICA, SECONDS = 2, 4.0
# Of the clicks that follow one another; no time passes between them in the simulation's terms.
_APART_S = 60.0


@dataclass(frozen=True)
class Idle:
    """Nobody is busy when clicks follow one another; a Load."""

    def of(self, replica: str) -> int:
        """Returns 0."""
        del replica
        return 0

    def total(self) -> int:
        """Returns 0."""
        return 0


@dataclass(frozen=True)
class Answered:
    """A click that a decoder answered: whether the image was hot there, and how long it took."""

    hot: bool
    duration_s: float


def cpu_s(process: Process) -> float:
    """Returns the processor time that a process has used, in seconds."""
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


class Replicas:
    """Decoders, and clicks sent to them.

    Args:
        stubs: By name.
    """

    def __init__(self, stubs: dict[str, decoder_service_pb2_grpc.DecoderServiceAsyncStub]) -> None:
        self._stubs = stubs

    async def click(self, name: str, embedding_id: bytes) -> Answered:
        """Sends a click to a replica."""
        request = decoder_pb.PredictMasksRequest(embedding_id=embedding_id, prompts=[prompt_to_message(PROMPT)])
        begin = time.perf_counter()
        response = await answered(self._stubs[name].PredictMasks(request))
        hot = response.timings.embedding_origin == decoder_pb.EMBEDDING_ORIGIN_MEMORY
        return Answered(hot, time.perf_counter() - begin)

    async def forget(self, fillers: Sequence[bytes]) -> None:
        """Fills every replica's memory with other images."""
        for name in self._stubs:
            for filler in fillers:
                await self.click(name, filler)

    async def follow(self, clicks: Sequence[Click], choice: Choice) -> list[Answered]:
        """Sends clicks one after the other."""
        return [await self.click(choice.pick(click.image, Idle()), click.image) for click in clicks]

    async def throughput(self, names: Sequence[str], images: Sequence[bytes]) -> float:
        """Returns the clicks a second that replicas answer, each image's to its own replica."""
        choice = RingHash(names)
        began = time.perf_counter()

        async def caller(number: int) -> int:
            count = 0
            while time.perf_counter() - began < SECONDS:
                chosen = images[(number + count) % len(images)]
                await self.click(choice.pick(chosen, Idle()), chosen)
                count += 1
            return count

        counts = await asyncio.gather(*(caller(number) for number in range(CALLERS_PER_REPLICA * len(names))))
        return sum(counts) / (time.perf_counter() - began)


def clicks_on(images: Sequence[bytes]) -> list[Click]:
    """Returns clicks far apart, on images of different popularity."""
    drawn = zipf_clicks(len(images), EXPONENT, 1.0, 3.0 * CLICKS, seed=3)[:CLICKS]
    return [
        Click(_APART_S * (number + 1), images[int.from_bytes(click.image, "big")]) for number, click in enumerate(drawn)
    ]


def compare(
    name: str, real: Sequence[Answered], clicks: Sequence[Click], choice: Choice, alive: Mapping[float, Sequence[str]]
) -> float:
    """Returns the share of hits.

    Raises:
        RuntimeError: The simulation counts other clicks as hits.
    """
    kind = Replica(HOT_IMAGES, at_once=1, hot_s=0.02, fetch_s=0.01)
    simulated = [answer.hot for answer in simulate(clicks, choice, kind, alive)]
    if simulated != [answer.hot for answer in real]:
        raise RuntimeError(f"{name}: {sum(simulated)} simulated hits, {sum(one.hot for one in real)} real ones")
    return sum(simulated) / len(simulated)


async def measured(encoder: Process, decoders: dict[str, Process]) -> dict[str, float]:
    """Returns the figures of running decoders; kills the last one."""
    before_s = cpu_s(encoder)
    embeddings = await encoded(encoder, IMAGES + HOT_IMAGES)
    encode_cpu_s = cpu_s(encoder) - before_s
    images, fillers = embeddings[:IMAGES], embeddings[IMAGES:]
    clicks, names = clicks_on(images), list(decoders)
    figures: dict[str, float] = {}
    every: list[Answered] = []
    async with AsyncExitStack() as stack:
        stubs = {}
        for name, decoder in decoders.items():
            channel = await stack.enter_async_context(open_channel(decoder.address))
            stubs[name] = decoder_service_pb2_grpc.DecoderServiceStub(channel)
        replicas = Replicas(stubs)
        for count in range(1, len(names) + 1):
            chosen = names[:count]
            figures[f"replicas_{count}_clicks_per_s"] = await replicas.throughput(chosen, images[:HOT_IMAGES])
            for policy, make in (("round_robin", RoundRobin), ("ring_hash", RingHash)):
                await replicas.forget(fillers)
                real = await replicas.follow(clicks, make(chosen))
                title = f"replicas_{count}_{policy}_hit_share"
                figures[title] = compare(title, real, clicks, make(chosen), {0.0: chosen})
                every += real
        await replicas.forget(fillers)
        half, choice = len(clicks) // 2, RingHash(names)
        real = await replicas.follow(clicks[:half], choice)
        decoders[names[-1]].kill()
        choice.replace(names[:-1])
        real += await replicas.follow(clicks[half:], choice)
        alive = {0.0: names, clicks[half].at_s: names[:-1]}
        figures["replicas_3_ring_hash_loss_hit_share"] = compare("loss", real, clicks, RingHash(names), alive)
    hot_s, cold_s = (np.median([one.duration_s for one in every if one.hot is hot]) for hot in (True, False))
    return {
        **figures,
        "replica_hot_ms": 1000 * float(hot_s),
        "replica_fetch_vs_hot": float((cold_s - hot_s) / hot_s),
        # The first of them is known since `sizes`.
        "replica_encode_cpu_ms": 1000 * encode_cpu_s / (len(embeddings) - 1),
    }


def sizes(encoder: Process, redis_url: str) -> tuple[int, int]:
    """Returns the bytes of an image that a decoder holds hot, and of an embedding in Redis with its overhead."""
    with decoder_of(encoder, redis_url) as decoder:

        async def click() -> None:
            async with open_channel(decoder.address) as channel:
                replicas = Replicas({"": decoder_service_pb2_grpc.DecoderServiceStub(channel)})
                await replicas.click("", (await encoded(encoder, 1))[0])

        asyncio.run(click())
        hot = round(decoder.metric("hilum_memory_cache_bytes", cache="hot"))
    with redis.Redis.from_url(redis_url) as server:
        (key,) = server.scan_iter(f"{PREFIX}:{EMBEDDING}:*")
        return hot, int(server.memory_usage(key) or 0)


def measure() -> dict[str, float]:
    """Returns throughput and hit rates of one to three replicas, and what images take where they are kept."""
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(valkey(port))
        redis_url = f"redis://127.0.0.1:{port}"
        encoder = stack.enter_context(service("encoder", redis_url=redis_url))
        hot_bytes, redis_bytes = sizes(encoder, redis_url)
        limit = str(HOT_IMAGES * hot_bytes)
        decoders = {
            name: stack.enter_context(decoder_of(encoder, redis_url, local_cache_bytes=limit))
            for name in ("decoder-0", "decoder-1", "decoder-2")
        }
        figures = asyncio.run(measured(encoder, decoders))
    return {
        **figures,
        "replica_hot_image_bytes": hot_bytes,
        "replica_hot_images": ServiceSettings().local_cache_bytes // hot_bytes,
        "embedding_redis_bytes": redis_bytes,
    }


if __name__ == "__main__":
    main(measure)
