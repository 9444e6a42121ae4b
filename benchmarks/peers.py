"""Peers compared fairly: each in a process of its own, run in turn, never two at a time."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeAlias

from rich.console import Console
from rich.table import Table

from benchmarks.report import machine

Call: TypeAlias = Callable[[], object]
# Runs in the peer's own process: loads what is needed for a number of threads and returns what is timed.
Load: TypeAlias = Callable[[int], Call]

WARM_UP_CALLS = 3


@dataclass(frozen=True)
class Durations:
    """A peer's calls, in ms of wall time and of processor time (all threads), in order; `calls` to a turn."""

    wall_ms: tuple[float, ...]
    processor_ms: tuple[float, ...]
    calls: int = 1

    @property
    def median_ms(self) -> float:
        """Median wall time."""
        return statistics.median(self.wall_ms)

    @property
    def p90_ms(self) -> float:
        """90th percentile of wall time."""
        return statistics.quantiles(self.wall_ms, n=10, method="inclusive")[-1]

    def times(self, other: Durations) -> float:
        """How many times as long as another peer: the median over rounds of the ratio of their turns' medians.

        A machine's speed drifts over minutes; the turns of one round lie close together.
        """
        rounds = zip(self._turns(), other._turns(), strict=True)
        return statistics.median(mine / theirs for mine, theirs in rounds)

    def _turns(self) -> list[float]:
        starts = range(0, len(self.wall_ms), self.calls)
        return [statistics.median(self.wall_ms[start : start + self.calls]) for start in starts]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def alternate(peers: Mapping[str, Load], *, rounds: int, calls: int, threads: int) -> dict[str, Durations]:
    """Time peers in turn.

    Args:
        peers: what each loads, by name; functions of a module, so that a new process can import them.
        rounds: how often each has its turn; the order turns with every round.
        calls: calls in a turn.
        threads: threads every peer may use.
    """
    with _processes(peers, threads) as connections:
        wall: dict[str, list[float]] = {name: [] for name in peers}
        processor: dict[str, list[float]] = {name: [] for name in peers}
        names = list(peers)
        for turn in range(rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                connections[name].send(calls)
                for wall_ms, processor_ms in connections[name].recv():
                    wall[name].append(wall_ms)
                    processor[name].append(processor_ms)
    return {name: Durations(tuple(wall[name]), tuple(processor[name]), calls) for name in peers}


def show_peers(title: str, durations: Mapping[str, Durations], threads: int) -> None:
    """Print a table of peers, with the machine and how busy it was."""
    table = Table(title=f"{title}: {machine()}, {threads} threads each, load {os.getloadavg()[0]:.1f}")
    for column in ("", "median ms", "p90 ms", "processor ms"):
        table.add_column(column, justify="right" if column else "left")
    for name, measured in durations.items():
        processor_ms = statistics.median(measured.processor_ms)
        table.add_row(name, f"{measured.median_ms:.1f}", f"{measured.p90_ms:.1f}", f"{processor_ms:.1f}")
    Console().print(table)


@contextmanager
def _processes(peers: Mapping[str, Load], threads: int) -> Iterator[dict[str, Connection]]:
    context = multiprocessing.get_context("spawn")
    connections: dict[str, Connection] = {}
    processes = []
    # Read once by torch's OpenMP when a process starts.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        for name, load in peers.items():
            connections[name], theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, load, threads), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
        for name in peers:
            connections[name].recv()  # loaded and warm
        yield connections
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
        for connection in connections.values():
            connection.close()
        for process in processes:
            process.join()


def _serve(connection: Connection, load: Load, threads: int) -> None:
    call = load(threads)
    for _ in range(WARM_UP_CALLS):
        call()
    connection.send(None)
    try:
        while True:
            connection.send([_timed(call) for _ in range(connection.recv())])
    except EOFError:  # the parent is done
        return


def _timed(call: Call) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - processor) * 1000
