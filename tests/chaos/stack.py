"""A whole Hilum of real processes that faults are done to, and questions whose answers are known."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from hilum import AsyncClient, Box, Endpoints, Image, Prompt, Transform, ViewRelation, Window
from hilum.errors import HilumError
from tests.chaos.proxy import Proxy
from tests.integration.processes import Process, free_port, service, valkey

WINDOW = Window(500, 1000)
PROMPT = Prompt(box=Box(90, 70, 170, 150))
PATIENCE_S = 90.0
IMAGES = 3

_groups = (f"fault-{number}" for number in count())


def image(seed: int, group: str = "") -> Image:
    """Returns a bright disc on noise, (240, 256) int16."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:240, :256]
    disc = (rows - 110) ** 2 + (columns - 130) ** 2 < (30 + 3 * seed) ** 2
    return Image((rng.normal(300, 60, (240, 256)) + 400 * disc).astype(np.int16), group=group)


@dataclass
class Tally:
    """What became of questions: every one is right, wrong, refused by a typed error, or lost.

    Attributes:
        right: Answered as without the fault.
        wrong: Answered with another mask.
        refused: Names of the typed errors.
        lost: Ended in anything else.
    """

    right: int = 0
    wrong: int = 0
    refused: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """All questions that ended, however they did."""
        return self.right + self.wrong + len(self.refused) + len(self.lost)

    def words(self) -> str:
        """Returns it in words, such as "8 of 8 answered"."""
        refused = ", ".join(f"{self.refused.count(name)} {name}" for name in dict.fromkeys(self.refused))
        return f"{self.right} of {self.asked} answered" + (f"; {refused}" if refused else "")

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.right + other.right, self.wrong + other.wrong, self.refused + other.refused, self.lost + other.lost
        )


class Stack:
    """Valkey behind a proxy, an encoder, a decoder, fusion, and a client; processes are ended and started in place.

    Args:
        encoder: Settings of the encoder.

    Attributes:
        processes: What is running, by name.
        proxy: Between the services and Valkey.
        truth: Masks of the images without a fault.
        transform: Id, and thereby content, of the transform between two of them.
    """

    def __init__(self, **encoder: str) -> None:
        self._encoder = encoder
        self._exits = ExitStack()
        self._ports = {name: free_port() for name in ("valkey", "encoder", "decoder", "fusion")}
        self.processes: dict[str, Process] = {}
        self.proxy = Proxy(self._ports["valkey"])
        self.truth: list[NDArray[np.bool_]] = []
        self.transform = b""
        self.client: AsyncClient

    async def __aenter__(self) -> Stack:
        await self.proxy.start()
        for name in self._ports:
            await self.start(name)
        self.client = self.connect()
        for seed in range(IMAGES):
            self.truth.append(await self._mask(self.client, image(seed)))
        self.transform = (await self._register(self.client)).transform_id
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await asyncio.to_thread(self._exits.close)
        await self.proxy.close()

    def connect(self, timeout_s: float = 60.0) -> AsyncClient:
        """Returns a new client."""
        addresses = [f"127.0.0.1:{self._ports[name]}" for name in ("encoder", "decoder", "fusion")]
        return AsyncClient(Endpoints(*addresses), timeout_s=timeout_s)

    async def start(self, name: str, **settings: str) -> None:
        """Starts a process in its place, and returns when it is ready."""
        self.processes[name] = self._exits.enter_context(await asyncio.to_thread(self._started, name, settings))

    def _started(self, name: str, settings: dict[str, str]) -> Process:
        port = self._ports[name]
        if name == "valkey":
            return valkey(port)
        settings = {"port": str(port), "redis_url": f"redis://127.0.0.1:{self.proxy.port}", **settings}
        if name == "encoder":
            settings = self._encoder | settings
        if name == "fusion":
            settings |= {other: f"127.0.0.1:{self._ports[other]}" for other in ("encoder", "decoder")}
        if name == "decoder":
            settings["encoders"] = json.dumps([f"127.0.0.1:{self._ports['encoder']}"])
        return service(name, **settings)

    def admin(self) -> redis.Redis:
        """Returns a plain client of Valkey, past the proxy."""
        return redis.Redis(port=self._ports["valkey"])

    def pid(self, name: str) -> int:
        """Returns a process's id, in Valkey's case the server's own."""
        if name != "valkey":
            return self.processes[name].pid
        information: Any = self.admin().info("server")
        return int(information["process_id"])

    async def ask(self, questions: int = 4, *, group: str = "", client: AsyncClient | None = None) -> Tally:
        """Asks for masks, all at once; each of a new embedding, or of the group's."""
        asked = [
            self.ask_one(number % IMAGES, group or next(_groups), client or self.client) for number in range(questions)
        ]
        return sum(await asyncio.gather(*asked), Tally())

    async def ask_one(self, seed: int, group: str, client: AsyncClient) -> Tally:
        """Asks for one mask and compares it with the truth."""
        return await self._judged(self._is_mask(seed, group, client))

    async def ask_fusion(self, questions: int) -> Tally:
        """Asks for transforms, all at once, and compares their content with the truth."""
        asked = [self._judged(self._is_transform(self.client)) for _ in range(questions)]
        return sum(await asyncio.gather(*asked), Tally())

    @staticmethod
    async def _judged(question: Awaitable[bool]) -> Tally:
        try:
            return Tally(right=1) if await question else Tally(wrong=1)
        except HilumError as error:
            return Tally(refused=[type(error).__name__])
        except Exception as error:  # noqa: BLE001  # whatever it is, it is no answer
            return Tally(lost=[type(error).__name__])

    async def _is_mask(self, seed: int, group: str, client: AsyncClient) -> bool:
        return np.array_equal(await self._mask(client, image(seed, group)), self.truth[seed])

    async def _is_transform(self, client: AsyncClient) -> bool:
        return (await self._register(client)).transform_id == self.transform

    async def until(self, healthy: Callable[[], Awaitable[bool]]) -> float:
        """Returns how long it took until that held, in seconds; AssertionError when it does not within patience."""
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await healthy():
                    pass
        except TimeoutError:
            raise AssertionError(f"not recovered in {PATIENCE_S:.0f} s") from None
        return time.perf_counter() - begin

    async def answers(self) -> bool:
        """Says whether a new question is answered rightly."""
        return (await self.ask(1)).right == 1

    async def stores(self) -> bool:
        """Says whether a new embedding reaches Redis: services use it again."""
        before = self.count("stored")
        return (await self.ask(1)).right == 1 and self.count("stored") > before

    def count(self, event: str) -> float:
        """Returns how often encoder and decoder counted a cache event."""
        both = (self.processes[name] for name in ("encoder", "decoder"))
        return sum(process.metric("hilum_cache_events_total", cache="embedding", event=event) for process in both)

    def values(self) -> Sequence[bytes]:
        """Returns the names of all embeddings in Valkey."""
        return list(self.admin().scan_iter("hilum:v2:embedding:*"))

    async def fresh_decoder(self) -> None:
        """Replaces the decoder by one with nothing in memory."""
        await asyncio.to_thread(self.processes["decoder"].stop)
        await self.start("decoder")

    async def registers(self) -> bool:
        """Says whether fusion answers, and rightly."""
        return (await self.ask_fusion(1)).right == 1

    @staticmethod
    async def _register(client: AsyncClient) -> Transform:
        registration = await client.register(image(0), image(1), view_relation=ViewRelation.COMPARABLE)
        return registration.transform

    @staticmethod
    async def _mask(client: AsyncClient, picture: Image) -> NDArray[np.bool_]:
        prediction = await client.predict(picture, [PROMPT], mapping=WINDOW, region=None)
        return prediction.masks[0][0].mask
