"""What a server says about itself: one canonical log line per RPC, and the same numbers as Prometheus metrics.

Nothing here is global: a `Telemetry` is constructed with the stream it logs to and owns its metrics registry, so that
several servers live in one process without sharing counters. Log lines and labels carry codes, reasons, counts, sizes
and times; never pixels, never patient data, never messages about a caller's input.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, TextIO, TypeAlias, get_args
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from hilum import telemetry_names as names
from hilum.serving.log import StandardLogging, build_logger
from hilum.serving.memory_metrics import MeasuredCache, MemoryMetrics
from hilum.serving.spans import Spans

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

Fact: TypeAlias = str | int | float | bool
CacheEvent: TypeAlias = Literal[
    "hit",
    "miss",
    "stored",
    "corrupt",
    "too_large",
    "full",
    "timeout",
    "error",
    "circuit_open",
    "purged",
    "undecryptable",
]
CACHE_EVENTS: tuple[CacheEvent, ...] = get_args(CacheEvent)

_MAX_FACT_LENGTH = 200


class RpcFacts:
    """What is known of one RPC; ends up on its canonical log line.

    Keys that end in `_ms` are stage timings and are observed as metrics as well.
    """

    def __init__(self) -> None:
        self._facts: dict[str, Fact] = {}

    def add(self, **facts: Fact) -> None:
        """Notes facts under constant names; later values replace earlier ones.

        Args:
            facts: Numbers, flags and short words out of a fixed vocabulary. Never patient data, never text that a
                caller chose.
        """
        for name, value in facts.items():
            self._facts[name] = value[:_MAX_FACT_LENGTH] if isinstance(value, str) else value

    def count(self, name: str, amount: int = 1) -> None:
        """Adds to a count."""
        self._facts[name] = int(self._facts.get(name, 0)) + amount

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the block's duration to the stage timing `{name}_ms`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.took(name, time.perf_counter() - started)

    def took(self, name: str, seconds: float) -> None:
        """Adds to the stage timing `{name}_ms`."""
        self._facts[f"{name}_ms"] = round(self.elapsed_ms(name) + seconds * 1000, 3)

    def elapsed_ms(self, name: str) -> float:
        """Returns the stage timing so far, 0 when the stage has not run; for timings in responses."""
        return float(self._facts.get(f"{name}_ms", 0.0))

    def as_dict(self) -> dict[str, Fact]:
        """Returns a copy of all facts."""
        return dict(self._facts)


_current_facts: ContextVar[RpcFacts] = ContextVar("hilum_rpc_facts")


def rpc_facts() -> RpcFacts:
    """Returns the record of the RPC being handled; outside an RPC a fresh one that goes nowhere."""
    return _current_facts.get(None) or RpcFacts()


@contextlib.contextmanager
def recording_facts() -> Iterator[RpcFacts]:
    """Makes a fresh record the current one inside the block."""
    facts = RpcFacts()
    token = _current_facts.set(facts)
    try:
        yield facts
    finally:
        _current_facts.reset(token)


class Telemetry:
    """One server's log and metrics.

    Args:
        service: Name on every log line, such as "encoder".
        log_level: Least level that is logged: "debug", "info", "warning" or "error".
        stream: Where lines go; JSON unless it is a terminal. Default: standard output as it is now.
        tracer: Makes OpenTelemetry spans; None for none, which costs nothing.
    """

    def __init__(
        self,
        service: str,
        *,
        log_level: str = "info",
        stream: TextIO | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.service = service
        self.spans = Spans(tracer)
        self.log = build_logger(service, log_level, stream or sys.stdout, traced=tracer is not None)
        self.registry = CollectorRegistry()
        self._endpoint: WSGIServer | None = None
        self._rpcs = self._counter(names.RPCS)
        self._rpc_seconds = self._histogram(names.RPC_SECONDS)
        self._stage_seconds = self._histogram(names.STAGE_SECONDS)
        self._in_flight = self._gauge(names.RPCS_IN_FLIGHT)
        self._cache_events = self._counter(names.CACHE_EVENTS)
        self._audit_events = self._counter(names.AUDIT_EVENTS)
        self._encoder_runs = self._counter(names.ENCODER_RUNS)
        self._batch_size = self._histogram(names.BATCH_SIZE)
        self._dependency_up = self._gauge(names.DEPENDENCY_UP)
        self._dependency_seconds = self._histogram(names.DEPENDENCY_SECONDS)
        self._permits = self._gauge(names.PERMITS)
        self._permit_limit = self._gauge(names.PERMIT_LIMIT)
        self._queue_seconds = self._histogram(names.QUEUE_SECONDS)
        self._refusals = self._counter(names.REFUSALS)
        self._held_bytes = self._gauge(names.HELD_BYTES)
        self._transforms = self._counter(names.TRANSFORMS)
        self._memory = MemoryMetrics()
        self.registry.register(self._memory)

    def rpc_started(self, method: str) -> None:
        """Counts an RPC as in flight."""
        self._in_flight.labels(method).inc()

    def rpc_finished(self, method: str, *, code: str, reason: str, seconds: float, facts: RpcFacts) -> None:
        """Counts a finished RPC and its stage timings.

        Args:
            method: Full name, such as "/hilum.v1.EncoderService/EncodeImage".
            code: Name of the gRPC status code.
            reason: Name of the ErrorReason; "" where there is none.
            seconds: Duration.
            facts: The RPC's record.
        """
        self._in_flight.labels(method).dec()
        self._rpcs.labels(method, code, reason).inc()
        self._rpc_seconds.labels(method, code).observe(seconds)
        for name, value in facts.as_dict().items():
            if name.endswith("_ms") and isinstance(value, float | int):
                self._stage_seconds.labels(method, name.removesuffix("_ms")).observe(value / 1000)

    def cache_opened(self, cache: str) -> None:
        """Shows all events of a cache as 0: Prometheus sees a rise only of what it has seen before."""
        for event in CACHE_EVENTS:
            self._cache_events.labels(cache, event)

    def cache_event(self, cache: str, event: CacheEvent, amount: int = 1) -> None:
        """Counts what came of a look-up or a store, on the RPC's record too."""
        self._cache_events.labels(cache, event).inc(amount)
        rpc_facts().count(f"{cache}_{event}", amount)

    def audit_event(self, event: Literal["written", "lost"], amount: int = 1) -> None:
        """Counts what became of audit events."""
        self._audit_events.labels(event).inc(amount)

    def encoder_ran(self, backend: str, images: int = 1) -> None:
        """Counts images that went through an image encoder."""
        self._encoder_runs.labels(backend).inc(images)

    def batch_ran(self, model: str, size: int) -> None:
        """Notes how many prompts one run of the mask decoder's graph answered."""
        self._batch_size.labels(model).observe(size)

    def transform_made(self, flags: Sequence[str]) -> None:
        """Counts a registration or a pose by its quality flags."""
        for flag in flags or ("none",):
            self._transforms.labels(flag).inc()

    def watch_memory(self, cache: str, values: MeasuredCache) -> None:
        """Shows how full a cache in memory is, whenever metrics are read."""
        self._memory.watch(cache, values)

    @contextlib.contextmanager
    def calling(self, dependency: str, operation: str) -> Iterator[Mapping[str, str]]:
        """Times a call to a dependency, and traces it.

        Args:
            dependency: "redis" or "triton".
            operation: What it is asked to do; a word out of a fixed vocabulary.

        Yields:
            Headers that carry the trace to the dependency; none where tracing is off.
        """
        started = time.perf_counter()
        outcome = "failed"
        try:
            with self.spans.calling(dependency, operation) as headers:
                yield headers
            outcome = "ok"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            elapsed_s = time.perf_counter() - started
            self._dependency_seconds.labels(dependency, operation, outcome).observe(elapsed_s)

    def dependency_state(self, dependency: str, *, up: bool) -> None:
        """Sets whether a dependency answers."""
        self._dependency_up.labels(dependency).set(up)

    def permits(self, pool: str, *, running: int, waiting: int) -> None:
        """Sets how many permits are in use and how many callers wait for one."""
        self._permits.labels(pool, "running").set(running)
        self._permits.labels(pool, "waiting").set(waiting)

    def permit_limits(self, pool: str, *, running: int, waiting: int) -> None:
        """Sets how many permits there are, and how many callers may wait for one."""
        self._permit_limit.labels(pool, "running").set(running)
        self._permit_limit.labels(pool, "waiting").set(waiting)

    def queued(self, pool: str, seconds: float) -> None:
        """Notes how long a caller waited for a permit, on the RPC's record too."""
        self._queue_seconds.labels(pool).observe(seconds)
        rpc_facts().took("queue", seconds)

    def refused(self, pool: str) -> None:
        """Counts a caller that was refused because the queue was full."""
        self._refusals.labels(pool).inc()

    def held_bytes(self, size_bytes: int) -> None:
        """Sets how many bytes of requests are held."""
        self._held_bytes.set(size_bytes)

    def value(self, name: str, **labels: str) -> float:
        """Returns a metric's present value, 0 when it was never set; for tests and benchmarks."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def serve_metrics(self, host: str, port: int | None) -> int | None:
        """Starts the metrics endpoint in a daemon thread.

        Args:
            host: Address to listen on.
            port: Port; 0 for any free one, None for no endpoint.

        Returns:
            The port that is listened on, None without an endpoint.

        Raises:
            OSError: If the port is taken.
        """
        if port is None:
            return None
        self._endpoint, self._endpoint_thread = start_http_server(port, addr=host, registry=self.registry)
        return int(self._endpoint.server_port)

    def close(self) -> None:
        """Stops the metrics endpoint, if there is one."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.shutdown()
            endpoint.server_close()
            self._endpoint_thread.join()

    def file_refused(self, what: str) -> Callable[[Exception], None]:
        """Returns what is to be told of a watched file whose new version is of no use; the former one stays in force.

        Args:
            what: Word for the file, such as "jwks".
        """

        def refused(error: Exception) -> None:
            self.log.warning("file_refused", file=what, error=str(error))

        return refused

    def adopt_standard_logging(self) -> None:
        """Sends what libraries log through the standard library (grpc, asyncio) to this log, from warnings up.

        For entry points: the standard library's root logger belongs to the process.
        """
        root = logging.getLogger()
        root.handlers[:] = [StandardLogging(self.log)]
        root.setLevel(logging.WARNING)

    def _counter(self, metric: names.Metric) -> Counter:
        return Counter(metric.name, metric.text, metric.labels, registry=self.registry)

    def _gauge(self, metric: names.Metric) -> Gauge:
        return Gauge(metric.name, metric.text, metric.labels, registry=self.registry)

    def _histogram(self, metric: names.Metric) -> Histogram:
        return Histogram(metric.name, metric.text, metric.labels, registry=self.registry, buckets=metric.buckets)
