"""The services, started on free loopback ports for as long as the demo runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from hilum import Endpoints

ROOT = Path(__file__).resolve().parents[2]
STOP_TIMEOUT_S = 60


class RunningServices:
    """`python -m services` with a Valkey server of its own; a context manager.

    Args:
        log: Where the services' log lines go.

    Attributes:
        endpoints: Their addresses, once entered.
    """

    def __init__(self, log: Path) -> None:
        self._log_path = log
        self.endpoints = Endpoints()

    def __enter__(self) -> Self:
        self._log = self._log_path.open("w")
        ports = [word for name in ("encoder", "decoder", "fusion") for word in (f"--{name}-port", "0")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "services", *ports], cwd=ROOT, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line.startswith("ready "):
            self.__exit__(None, None, None)
            raise RuntimeError(f"the services did not start; see {self._log_path}")
        addresses = dict(word.split("=", 1) for word in line.split()[1:])
        self.endpoints = Endpoints(addresses["encoder"], addresses["decoder"], addresses["fusion"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(STOP_TIMEOUT_S)
        self._log.close()
