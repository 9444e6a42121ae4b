"""What a server says about itself: one canonical log line per RPC, and the same numbers as Prometheus metrics.

Nothing here is global: a `Telemetry` is constructed with the stream it logs to and owns its metrics registry, so that
several servers live in one process without sharing counters. Log lines and labels carry codes, reasons, counts, sizes
and times; never pixels, never patient data, never messages about a caller's input.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Literal, TextIO, TypeAlias
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from structlog.typing import FilteringBoundLogger, Processor

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
CACHE_EVENTS: tuple[CacheEvent, ...] = (
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
)

_MAX_FACT_LENGTH = 200
# From a prompt decoded in memory to a volume registered on CPU.
_SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


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
            elapsed_ms = (time.perf_counter() - started) * 1000
            self._facts[f"{name}_ms"] = round(self.elapsed_ms(name) + elapsed_ms, 3)

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
    """

    def __init__(self, service: str, *, log_level: str = "info", stream: TextIO | None = None) -> None:
        self.service = service
        self.log = _build_logger(service, log_level, stream or sys.stdout)
        self.registry = CollectorRegistry()
        self._endpoint: WSGIServer | None = None
        self._rpcs = self._counter("hilum_rpcs", "Finished RPCs.", "method", "code", "reason")
        self._rpc_seconds = self._histogram("hilum_rpc_seconds", "Duration of RPCs.", "method")
        self._stage_seconds = self._histogram("hilum_stage_seconds", "Duration of an RPC's stages.", "method", "stage")
        self._in_flight = self._gauge("hilum_rpcs_in_flight", "RPCs being handled.", "method")
        self._cache_events = self._counter("hilum_cache_events", "Cache look-ups and stores.", "cache", "event")
        self._audit_events = self._counter("hilum_audit_events", "Audit events, by what became of them.", "event")
        self._encoder_runs = self._counter("hilum_encoder_runs", "Images that went through the encoder.", "backend")
        self._dependency_up = self._gauge("hilum_dependency_up", "1 if the dependency answers.", "dependency")
        self._permits = self._gauge("hilum_permits", "Permits in use, by state.", "pool", "state")

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
        self._rpc_seconds.labels(method).observe(seconds)
        for name, value in facts.as_dict().items():
            if name.endswith("_ms") and isinstance(value, float | int):
                self._stage_seconds.labels(method, name.removesuffix("_ms")).observe(value / 1000)

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

    def dependency_state(self, dependency: str, *, up: bool) -> None:
        """Sets whether a dependency answers."""
        self._dependency_up.labels(dependency).set(up)

    def permits(self, pool: str, *, running: int, waiting: int) -> None:
        """Sets how many permits are in use and how many callers wait for one."""
        self._permits.labels(pool, "running").set(running)
        self._permits.labels(pool, "waiting").set(waiting)

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

    def adopt_standard_logging(self) -> None:
        """Sends what libraries log through the standard library (grpc, asyncio) to this log, from warnings up.

        For entry points: the standard library's root logger belongs to the process.
        """
        root = logging.getLogger()
        root.handlers[:] = [_StandardLogging(self.log)]
        root.setLevel(logging.WARNING)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=_SECONDS_BUCKETS)


class _StandardLogging(logging.Handler):
    """Passes records of the standard library's logging on."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def _build_logger(service: str, level: str, stream: TextIO) -> FilteringBoundLogger:
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if stream.isatty():
        # The plain traceback: the default one prints local variables, and those hold pixels.
        processors.append(structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    logger: Any = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    bound: FilteringBoundLogger = logger.bind(service=service)
    return bound
