"""Real processes for integration tests and benchmarks: services and Valkey, on loopback, ended for certain."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0


class Process:
    """A module that prints `{"event": "ready", ...}` on its standard output and ends when standard input does.

    Args:
        module: Run with `python -m`.
        arguments: Its arguments.
        environment: Added to this process's environment.

    Attributes:
        log: Events that it printed.
        output: Every line that it printed, on standard error, too.
    """

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.module = module
        self._popen = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, "HILUM_STOP_WITH_PARENT": "1", **(environment or {})},
        )
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.log: list[dict[str, Any]] = []
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ready = self.wait_for("ready")

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    @property
    def address(self) -> str:
        """What the ready line says."""
        return str(self.ready["address"])

    def wait_for(self, event: str, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """Returns the next log line of this event; AssertionError when the process ends or stays silent."""
        while True:
            try:
                line = self._events.get(timeout=timeout_s)
            except queue.Empty:
                raise AssertionError(f"{self.module} printed no {event!r} line in {timeout_s} s") from None
            if line is None:
                raise AssertionError(f"{self.module} ended before {event!r}: {self.log[-5:]}")
            if line.get("event") == event:
                return line

    def metrics(self) -> str:
        """Returns what the Prometheus endpoint answers."""
        host = self.address.rsplit(":", 1)[0]
        url = f"http://{host}:{self.ready['metrics_port']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            text: str = response.read().decode()
        return text

    def metric(self, name: str, **labels: str) -> float:
        """Returns a Prometheus sample's value, summed over the labels that are not given."""
        families = list(text_string_to_metric_families(self.metrics()))
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def kill(self) -> None:
        """Ends the process and its children without warning (SIGKILL)."""
        for child in psutil.Process(self.pid).children(recursive=True):
            child.kill()
        self._popen.kill()
        self._popen.wait(STOP_TIMEOUT_S)

    def stop(self) -> int:
        """Lets the process drain and end; returns its exit code."""
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        try:
            return self._popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._popen.poll() is None:
            self.stop()

    def _read(self) -> None:
        if self._popen.stdout is None:
            return
        for line in self._popen.stdout:
            self.output.append(line)
            try:
                event = json.loads(line)
            except ValueError:
                continue
            self.log.append(event)
            self._events.put(event)
        self._events.put(None)


def valkey(port: int, maxmemory: str = "256mb") -> Process:
    """Returns a running Valkey server."""
    return Process("services.valkey", "--port", str(port), "--maxmemory", maxmemory)


def service(name: str, **settings: str) -> Process:
    """Returns a running service on a free port, with metrics; settings become HILUM_* variables."""
    environment = {"HILUM_PORT": "0", "HILUM_METRICS_PORT": "0", "HILUM_INTRA_OP_THREADS": "1"}
    environment |= {f"HILUM_{key.upper()}": value for key, value in settings.items()}
    return Process(f"services.{name}", environment=environment)


def decoder_of(encoder: Process, redis: str, **settings: str) -> Process:
    """Returns a running decoder that asks this encoder and this Redis."""
    return service("decoder", redis_url=redis, encoders=json.dumps([encoder.address]), **settings)


def free_port() -> int:
    """Returns a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
