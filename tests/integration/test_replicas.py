"""Several replicas, one cache: encode once, prompt many times, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace

import numpy as np
import pytest
import redis as redis_client

from hilum import (
    AsyncClient,
    Box,
    Endpoints,
    Image,
    Prompt,
    RegistrationOptions,
    TargetPair,
    ViewRelation,
    Window,
)
from hilum.errors import TransformNotFound
from hilum.serving.bundle import Bundle
from hilum.types import Prediction
from tests.integration.processes import Process, decoder_of, free_port, service, valkey

WINDOW = Window(500, 1000)
BOX = Box(90, 70, 170, 150)


@pytest.fixture
def processes(default_bundle: Bundle) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def image(seed: int) -> Image:
    """Returns a bright disc on noise, (240, 256) int16."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:240, :256]
    disc = (rows - 110) ** 2 + (columns - 130) ** 2 < 35**2
    return Image((rng.normal(300, 60, (240, 256)) + 400 * disc).astype(np.int16))


async def predict(client: AsyncClient, seed: int) -> Prediction:
    return await client.predict(image(seed), [Prompt(box=BOX)], mapping=WINDOW, region=None)


def area(prediction: Prediction) -> int:
    return prediction.masks[0][0].area_px


async def test_each_image_is_encoded_once_over_all_replicas(processes: ExitStack) -> None:
    """200 prompts from 8 clients on 5 images sent to two encoder replicas at once run the encoder exactly 5 times."""
    port = free_port()
    processes.enter_context(valkey(port))
    redis = f"redis://127.0.0.1:{port}"
    encoders = [processes.enter_context(service("encoder", redis_url=redis)) for _ in range(2)]
    addresses = [encoder.address for encoder in encoders]
    decoder = processes.enter_context(service("decoder", redis_url=redis, encoders=json.dumps(addresses)))

    async def one_client(number: int) -> list[int]:
        endpoints = Endpoints(addresses[number % 2], decoder.address, decoder.address)
        async with AsyncClient(endpoints) as client:
            return [area(await predict(client, (number + turn) % 5)) for turn in range(25)]

    areas = await asyncio.gather(*(one_client(number) for number in range(8)))
    runs = [encoder.metric("hilum_encoder_runs_total") for encoder in encoders]
    print(f"encoder runs per replica: {runs}")
    assert sum(runs) == 5
    assert sum(len(client_areas) for client_areas in areas) == 200
    assert all(size > 0 for client_areas in areas for size in client_areas)


async def test_losing_redis_under_load_fails_no_request(processes: ExitStack) -> None:
    """With Redis killed under load, new images and a freshly started decoder work; back again, hits resume."""
    port = free_port()
    cache = processes.enter_context(valkey(port))
    redis = f"redis://127.0.0.1:{port}"
    encoder = processes.enter_context(service("encoder", redis_url=redis, cache_timeout_ms="1000"))
    decoder = _decoder(processes, encoder, redis)
    async with AsyncClient(Endpoints(encoder.address, decoder.address, decoder.address)) as client:
        before = [area(await predict(client, seed)) for seed in range(2)]
        load = asyncio.gather(*(predict(client, seed % 4) for seed in range(12)))
        await asyncio.sleep(0)  # lets the load start
        cache.kill()
        during = await load
        assert [area(prediction) for prediction in during[:2]] == before
        fresh = _decoder(processes, encoder, redis)
        async with AsyncClient(Endpoints(encoder.address, fresh.address, fresh.address)) as other:
            on_fresh = await asyncio.gather(*(predict(other, seed) for seed in range(4)))
        assert [area(prediction) for prediction in on_fresh[:2]] == before
        assert {origin for prediction in on_fresh for origin in prediction.embedding_origins} == {"encoder"}
        processes.enter_context(valkey(port))
        await _until_stored(client, encoder)
        again = _decoder(processes, encoder, redis)
        stored_before = again.metric("hilum_cache_events_total", cache="embedding", event="hit")
        async with AsyncClient(Endpoints(encoder.address, again.address, again.address)) as other:
            last = await predict(other, 999)
        assert last.embedding_origins == ("cache",)
        assert again.metric("hilum_cache_events_total", cache="embedding", event="hit") > stored_before


async def _until_stored(client: AsyncClient, encoder: Process) -> None:
    """Encodes new images until one is stored again: the circuit closes by itself once its probe succeeds."""
    stored = encoder.metric("hilum_cache_events_total", cache="embedding", event="stored")
    async with asyncio.timeout(60):
        seed = 1000
        while encoder.metric("hilum_cache_events_total", cache="embedding", event="stored") == stored:
            await predict(client, seed)
            seed += 1
    await predict(client, 999)


def _decoder(processes: ExitStack, encoder: Process, redis: str) -> Process:
    return processes.enter_context(decoder_of(encoder, redis, cache_timeout_ms="1000"))


async def test_a_purge_reaches_every_process(processes: ExitStack) -> None:
    """A purged study is gone from Redis, two encoders, two decoders and fusion; the next prompt encodes it anew."""
    port = free_port()
    processes.enter_context(valkey(port))
    redis = f"redis://127.0.0.1:{port}"
    encoders = [processes.enter_context(service("encoder", redis_url=redis)) for _ in range(2)]
    decoders = [processes.enter_context(decoder_of(encoders[0], redis)) for _ in range(2)]
    fusion = processes.enter_context(
        service("fusion", redis_url=redis, encoder=encoders[0].address, decoder=decoders[0].address)
    )
    fixed, moving = replace(image(1), group="study"), replace(image(2), group="study")
    kept = replace(image(3), group="other study")
    prompts = [Prompt(box=BOX)]
    async with AsyncExitStack() as clients:
        pairs = [
            await clients.enter_async_context(AsyncClient(Endpoints(encoder.address, decoder.address, fusion.address)))
            for encoder, decoder in zip(encoders, decoders, strict=True)
        ]
        for client in pairs:
            for picture in (fixed, moving, kept):
                await client.predict(picture, prompts, mapping=WINDOW, region=None)
        target = TargetPair(Prompt(box=BOX), Prompt(box=BOX))
        registration = await pairs[0].register(
            fixed, moving, view_relation=ViewRelation.COMPARABLE, targets=[target], options=RegistrationOptions()
        )
        identity = registration.transform.transform_id
        assert len(await pairs[0].transform_points(identity, [[1, 1]])) == 1
        runs = sum(encoder.metric("hilum_encoder_runs_total") for encoder in encoders)

        purge = await pairs[1].purge(group="study")
        print(purge)
        assert purge.embeddings >= 2
        assert purge.transforms == 2
        assert (purge.replicas_confirmed, purge.replicas_pending) == (5, 0)
        with pytest.raises(TransformNotFound):
            await pairs[0].transform_points(identity, [[1, 1]])
        with redis_client.Redis(port=port) as admin:
            values = [name for name in admin.scan_iter() if name.split(b":")[2] in {b"embedding", b"transform"}]
        assert len(values) == 1
        for client in pairs:
            assert await client.find_missing([fixed, moving, kept], mapping=WINDOW) == [0, 1]
            stayed = await client.predict(kept, prompts, mapping=WINDOW, region=None)
            assert stayed.embedding_origins == ("memory",)
        again = await pairs[0].predict(fixed, prompts, mapping=WINDOW, region=None)
        assert again.masks[0][0].area_px > 0
        assert sum(encoder.metric("hilum_encoder_runs_total") for encoder in encoders) == runs + 1
