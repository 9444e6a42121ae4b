"""Several replicas, one cache: encode once, prompt many times, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from hilum import AsyncClient, Box, Endpoints, Image, Prompt, Window
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
