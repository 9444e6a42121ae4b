"""Certificates, authorities and keys are replaced under load, and no request fails."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hilum import AsyncClient, Box, Endpoints, Image, Prompt, Tls, Window
from hilum.connection import channel_options
from hilum.errors import BackendUnavailable, Unauthenticated
from hilum.secured_channel import SecuredChannel
from modeling.bundle_writer import write_bundle
from services.development_ca import (
    Issued,
    caller_token,
    create,
    issue_client,
    issue_server,
    key_set,
    new_authority,
    private_pem,
    service_environment,
)
from tests.congruence.oracle import RANDOM_SAM_SPEC, random_sam
from tests.integration.processes import Process, service

PATIENCE_S = 90
WORKERS = 4
# As many requests of each worker must have begun and ended after a step before the next one.
TURNS = 2
UNRETRIED = [option for option in channel_options() if "service_config" not in option[0]]


@dataclass
class Load:
    """Callers that never stop, and what became of their requests.

    Attributes:
        endpoints: Where they call.
        folder: Where their certificates and token lie.
        answered: Requests answered, per worker.
        connections: Connections opened.
        failures: Whatever went wrong.
    """

    endpoints: Endpoints
    folder: Path
    answered: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(WORKERS), 0))
    connections: int = 0
    failures: list[Exception] = field(default_factory=list)
    turn: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._work(number)) for number in self.answered]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def has_gone_on(self) -> None:
        """Returns when every worker has made several requests from now on."""
        goals = {number: count + TURNS + 1 for number, count in self.answered.items()}
        async with asyncio.timeout(PATIENCE_S), self.turn:
            await self.turn.wait_for(
                lambda: all(self.answered[number] >= goal for number, goal in goals.items()) or bool(self.failures)
            )
        assert self.failures == []

    async def _work(self, number: int) -> None:
        """Asks for masks: even workers over one channel, odd ones over new connections each time."""
        client = self._client()
        for turn in itertools.count():
            if number % 2:
                await client.close()
                client = self._client()
            try:
                await outline(client, seed=turn % 3)
                self.answered[number] += 1
            except Exception as error:  # noqa: BLE001  # whatever it is, the test reports it
                self.failures.append(error)
            async with self.turn:
                self.turn.notify_all()

    def _client(self) -> AsyncClient:
        self.connections += 1
        return client_of(self.endpoints, self.folder)


def client_of(
    endpoints: Endpoints, folder: Path, *, certificate: str = "service-client", token: str | None = None
) -> AsyncClient:
    """Returns a client without retries, with a connection of its own."""
    tls = Tls(folder / "ca.pem", folder / f"{certificate}.pem", folder / f"{certificate}-key.pem")

    def opened(address: str) -> grpc.aio.Channel:
        options = [*UNRETRIED, ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        return SecuredChannel(
            lambda credentials: grpc.aio.secure_channel(address, credentials, options=options),  # type: ignore[arg-type]  # never None with tls
            credentials=tls.credentials(),
            token=lambda: token or (folder / "annotator.jwt").read_text(),
        )

    return AsyncClient(endpoints, channel=opened)


async def outline(client: AsyncClient, seed: int) -> None:
    """Asks for a mask of a small picture."""
    pixels = (np.random.default_rng(seed).normal(300, 60, (48, 64))).astype(np.int16)
    prediction = await client.predict(Image(pixels), [Prompt(box=Box(10, 8, 40, 36))], mapping=Window(500, 900))
    assert prediction.embedding_origins == ("encoder",), "the decoder must ask the encoder on its caller's behalf"


def replace(path: Path, content: bytes) -> None:
    """Replaces a file at once, as a mounted secret is replaced."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    os.replace(beside, path)  # noqa: PTH105  # the plain name of what it does


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a development authority makes."""
    create(tmp_path / "secure")
    return tmp_path / "secure"


@pytest.fixture
def running(folder: Path, tmp_path: Path) -> Iterator[tuple[Process, Process]]:
    """An encoder, and a decoder that keeps nothing and asks it for every prompt."""
    bundle = write_bundle(random_sam(), RANDOM_SAM_SPEC, tmp_path / "bundles" / RANDOM_SAM_SPEC.name).bundle
    common = {"bundles": str(tmp_path / "bundles"), "models": json.dumps([bundle.manifest.name])}

    def settings(name: str) -> dict[str, str]:
        secure = service_environment(folder, name).items()
        return common | {key.removeprefix("HILUM_").lower(): value for key, value in secure}

    with service("encoder", **settings("encoder")) as encoder:
        upstream = {"encoders": json.dumps([encoder.address]), "local_cache_bytes": "0"}
        with service("decoder", **settings("decoder"), **upstream) as decoder:
            yield encoder, decoder


def pair_of(folder: Path, name: str, issued: Issued) -> None:
    """Replaces a certificate and its key, one after the other: in between they do not belong together."""
    replace(folder / f"{name}-key.pem", issued.key_pem)
    replace(folder / f"{name}.pem", issued.certificate_pem)


def replaced(folder: Path) -> Iterator[str]:
    """Does what an operator does to replace everything, step by step, and yields what was done."""
    former_ca, authority = (folder / "ca.pem").read_bytes(), new_authority("The new authority")
    replace(folder / "ca.pem", former_ca + authority.certificate_pem)
    yield "both authorities are trusted"
    for name in ("encoder", "decoder"):
        pair_of(folder, name, issue_server(authority, name))
        yield f"certificate of the {name}"
    pair_of(folder, "service-client", issue_client(authority, "service"))
    yield "certificate of the clients"
    replace(folder / "ca.pem", authority.certificate_pem)
    yield "the new authority alone is trusted"
    provider = Ed25519PrivateKey.generate()
    yield from keys_replaced(folder / "jwks.json", provider, folder / "annotator.jwt", _annotator(provider))
    own = Ed25519PrivateKey.generate()
    yield from keys_replaced(folder / "service-jwks.json", own, folder / "decoder-service-key.pem", private_pem(own))


def keys_replaced(published: Path, key: Ed25519PrivateKey, used: Path, new: bytes) -> Iterator[str]:
    """Publishes a key beside the former ones, has it used, and withdraws the former ones."""
    both = {"keys": json.loads(published.read_bytes())["keys"] + json.loads(key_set(key))["keys"]}
    replace(published, json.dumps(both).encode())
    yield f"{published.name}: a new key beside the former"
    replace(used, new)
    yield f"{used.name}: by the new key"
    replace(published, key_set(key))
    yield f"{published.name}: the new key alone"


def _annotator(provider: Ed25519PrivateKey) -> bytes:
    return caller_token(provider, "annotator").encode()


async def test_everything_is_replaced_under_load(running: tuple[Process, Process], folder: Path) -> None:
    """Authority, certificates, the provider's key, tokens and a service's key are replaced without one failed request.

    Afterwards what was replaced is worth nothing.
    """
    encoder, decoder = running
    endpoints = Endpoints(encoder.address, decoder.address, decoder.address)
    before = folder.with_name("before")
    shutil.copytree(folder, before)
    done, started = [], time.perf_counter()
    async with Load(endpoints, folder) as load:
        await load.has_gone_on()
        for step in replaced(folder):
            await load.has_gone_on()
            done.append(step)
    seconds, answered = time.perf_counter() - started, sum(load.answered.values())
    print(
        f"{len(done)} replacements in {seconds:.1f} s: {answered} requests answered over {load.connections} "
        f"connections, {len(load.failures)} failed"
    )
    assert load.failures == []
    client = client_of(endpoints, folder, token=(before / "annotator.jwt").read_text())
    with pytest.raises(Unauthenticated):
        await client.models()
    await client.close()
    shutil.copy(folder / "ca.pem", before / "ca.pem")  # so that it is the former client certificate that fails
    client = client_of(endpoints, before)
    with pytest.raises(BackendUnavailable):
        await client.models()
    await client.close()
    for process in running:
        assert [line for line in process.log if line["event"] == "certificates_renewed"]
