"""A hundred decoder replicas, simulated: how often a click meets a hot image, and how long the slowest wait.

    python -m benchmarks.replicas_simulation

Clicks arrive as a Poisson process; the image of each is drawn by Zipf's law. A replica answers one click at a time,
first come first served, refuses none, keeps the images used last ready, and fetches others from Redis, once however
many ask. After a third of the time a tenth of the replicas is lost, after two thirds a quarter as many again is added.
Service times are those that `python -m benchmarks load replicas` measured, where it did. benchmarks/replicas.py holds
the simulation's hits to those of real decoders.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.replica_choice import Choice, RingHash, RoundRobin
from benchmarks.report import FILE, main


@dataclass(frozen=True)
class Replica:
    """What every replica is like.

    Attributes:
        hot_images: Images that it keeps ready.
        at_once: Clicks that it works on at the same time.
        hot_s: Time of a click on a hot image.
        fetch_s: What the first click on another image takes longer.
    """

    hot_images: int
    at_once: int
    hot_s: float
    fetch_s: float


@dataclass(frozen=True)
class Click:
    """A call: when it arrives, in seconds, and on which image."""

    at_s: float
    image: bytes


@dataclass(frozen=True)
class Answer:
    """What became of a click.

    Attributes:
        click: The click.
        replica: Name of who answered.
        hot: Whether the image was ready.
        fetched: Whether this click made the replica fetch it.
        latency_s: Time until the answer, waiting included.
    """

    click: Click
    replica: str
    hot: bool
    fetched: bool
    latency_s: float


@dataclass
class _State:
    """A replica at work."""

    kind: Replica
    ready_at: OrderedDict[bytes, float] = field(default_factory=OrderedDict)
    free_at: list[float] = field(default_factory=list)

    def take(self, click: Click) -> tuple[bool, bool, float]:
        """Returns whether the image is hot, whether it is fetched now, and the latency."""
        ready_at = self.ready_at.get(click.image)
        hot = ready_at is not None and ready_at <= click.at_s
        free = len(self.free_at) < self.kind.at_once
        begin = click.at_s if free else max(click.at_s, heapq.heappop(self.free_at))
        fetched = ready_at is None
        if ready_at is None:
            ready_at = begin + self.kind.fetch_s
        self.ready_at[click.image] = ready_at
        self.ready_at.move_to_end(click.image)
        if len(self.ready_at) > self.kind.hot_images:
            self.ready_at.popitem(last=False)
        end = max(begin, ready_at) + self.kind.hot_s
        heapq.heappush(self.free_at, end)
        return hot, fetched, end - click.at_s


@dataclass
class _Running:
    """Clicks that are not answered yet; a Load."""

    ends: list[tuple[float, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def of(self, replica: str) -> int:
        return self.counts[replica]

    def total(self) -> int:
        return len(self.ends)

    def began(self, replica: str, end_s: float) -> None:
        heapq.heappush(self.ends, (end_s, replica))
        self.counts[replica] += 1

    def until(self, now_s: float) -> None:
        while self.ends and self.ends[0][0] <= now_s:
            self.counts[heapq.heappop(self.ends)[1]] -= 1


def simulate(
    clicks: Sequence[Click], choice: Choice, kind: Replica, replicas: Mapping[float, Sequence[str]]
) -> Iterator[Answer]:
    """Yields an answer for every click, in their order.

    Args:
        clicks: In the order in which they arrive.
        choice: Says who answers.
        kind: What replicas are like.
        replicas: Names of those alive, by the time from which on; the first from 0. A new one starts with nothing hot;
            clicks that a lost one works on are answered all the same.
    """
    changes = deque(sorted(replicas.items()))
    states: dict[str, _State] = {}
    running = _Running()
    for click in clicks:
        while changes and changes[0][0] <= click.at_s:
            _, alive = changes.popleft()
            states = {name: states.get(name) or _State(kind) for name in alive}
            choice.replace(alive)
        running.until(click.at_s)
        name = choice.pick(click.image, running)
        hot, fetched, latency_s = states[name].take(click)
        running.began(name, click.at_s + latency_s)
        yield Answer(click, name, hot, fetched, latency_s)


def zipf_clicks(images: int, exponent: float, per_s: float, seconds: float, seed: int) -> list[Click]:
    """Returns clicks of a Poisson process on images whose popularity falls as rank to the power of -exponent."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(per_s * seconds)
    weights = np.arange(1, images + 1, dtype=float) ** -exponent
    ranks = rng.choice(images, count, p=weights / weights.sum())
    moments = np.sort(rng.uniform(0, seconds, count))
    return [Click(float(at_s), int(rank).to_bytes(4, "big")) for at_s, rank in zip(moments, ranks, strict=True)]


REPLICAS, LOST, ADDED = 100, 10, 25
SECONDS = 60.0
LOSS_S, SCALE_UP_S = SECONDS / 3, 2 * SECONDS / 3
# For how long after a loss or a scale-up its effect is looked at.
AFTERMATH_S = 5.0
# Share of the replicas' time that clicks on hot images would take, were they spread evenly.
UTILISATION = 0.5
IMAGES = 2000
# Of Zipf's law: many readers with a study each, and a teaching file that everybody opens.
EXPONENTS = {"studies": 0.5, "teaching": 0.9}
# Looked for among 1.25, 2, 3, 4 and 6: less loses hits, more lets queues grow.
BALANCE = 4.0
# Used where build/bench.json has no figure.
ASSUMED = {
    "load_cpu_ms_per_click": 20.0,
    "replica_fetch_vs_hot": 0.5,
    "replica_hot_images": 25.0,
    "embedding_redis_bytes": 2.1e6,
}
CHOICES: Mapping[str, Callable[[Sequence[str]], Choice]] = {
    "round_robin": RoundRobin,
    "ring_hash": RingHash,
    "ring_hash_bounded": lambda names: RingHash(names, balance=BALANCE),
}


def known_figures() -> dict[str, float]:
    """Returns what build/bench.json knows, else what is assumed; says which."""
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    values = {name: float(known.get(name, assumed)) for name, assumed in ASSUMED.items()}
    for name, value in values.items():
        print(f"{name} {value:g} ({'measured' if name in known else 'assumed'})")
    return values


def replica(known: Mapping[str, float]) -> Replica:
    """Returns a replica with one core."""
    return Replica(
        hot_images=int(known["replica_hot_images"]),
        at_once=1,
        hot_s=known["load_cpu_ms_per_click"] / 1000,
        # A ratio of one run: how busy the machine was is in both, and cancels.
        fetch_s=known["replica_fetch_vs_hot"] * known["load_cpu_ms_per_click"] / 1000,
    )


def timeline() -> dict[float, list[str]]:
    """Returns who is alive when: all, without those that are lost, with those that are added."""
    names = [f"decoder-{number}" for number in range(REPLICAS)]
    left = names[LOST:]
    return {0.0: names, LOSS_S: left, SCALE_UP_S: [*left, *(f"added-{number}" for number in range(ADDED))]}


def summary(answers: Sequence[Answer], embedding_bytes: float) -> dict[str, float]:
    """Returns hit rates of clicks after an image's first, latencies, and what Redis has to send.

    A click that waits for another's fetch is no hit, and fetches nothing.
    """
    known: set[bytes] = set()
    repeated = []
    for answer in answers:
        if answer.click.image in known:
            repeated.append(answer)
        known.add(answer.click.image)

    def hits(begin_s: float, end_s: float) -> float:
        chosen = [answer.hot for answer in repeated if begin_s <= answer.click.at_s < end_s]
        return sum(chosen) / len(chosen)

    def p99_ms(begin_s: float, end_s: float) -> float:
        chosen = [answer.latency_s for answer in answers if begin_s <= answer.click.at_s < end_s]
        return 1000 * float(np.quantile(chosen, 0.99))

    latencies = [answer.latency_s for answer in answers]
    fetched_bytes = embedding_bytes * sum(answer.fetched for answer in answers)
    return {
        "hit_share": hits(0, SECONDS),
        "hit_share_after_loss": hits(LOSS_S, LOSS_S + AFTERMATH_S),
        "hit_share_after_scale_up": hits(SCALE_UP_S, SCALE_UP_S + AFTERMATH_S),
        "p50_ms": 1000 * float(np.quantile(latencies, 0.5)),
        "p99_ms": p99_ms(0, SECONDS),
        "p99_after_loss_ms": p99_ms(LOSS_S, LOSS_S + AFTERMATH_S),
        "p99_after_scale_up_ms": p99_ms(SCALE_UP_S, SCALE_UP_S + AFTERMATH_S),
        "redis_mb_per_s": fetched_bytes / SECONDS / 1e6,
    }


def measure() -> dict[str, float]:
    """Returns hit rates and latencies for each popularity and each way to choose a replica."""
    known = known_figures()
    kind = replica(known)
    per_s = REPLICAS * UTILISATION * kind.at_once / kind.hot_s
    figures: dict[str, float] = {}
    for popularity, exponent in EXPONENTS.items():
        clicks = zipf_clicks(IMAGES, exponent, per_s, SECONDS, seed=1)
        for name, make in CHOICES.items():
            moments = timeline()
            answers = list(simulate(clicks, make(moments[0.0]), kind, moments))
            found = summary(answers, known["embedding_redis_bytes"])
            figures |= {f"simulated_{popularity}_{name}_{key}": value for key, value in found.items()}
    for count, lost in ((REPLICAS, LOST), (3, 1)):
        figures[f"simulated_ring_hash_moved_on_loss_of_{lost}_of_{count}"] = moved_on_loss(count, lost)
    return figures


def moved_on_loss(count: int, lost: int) -> float:
    """Returns the share of images whose replica is another one once some replicas are lost."""
    names = [f"decoder-{number}" for number in range(count)]
    choices = RingHash(names), RingHash(names[lost:])
    idle = _Running()
    keys = [number.to_bytes(4, "big") for number in range(IMAGES)]
    return sum(choices[0].pick(key, idle) != choices[1].pick(key, idle) for key in keys) / IMAGES


if __name__ == "__main__":
    main(measure)
