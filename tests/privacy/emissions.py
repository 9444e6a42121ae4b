"""Everything that services emit, and a search through all of it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.integration.processes import Process


@dataclass
class Emissions:
    """What was emitted, as bytes by where it was.

    Attributes:
        found: Bytes by the name of the place.
    """

    found: dict[str, bytes] = field(default_factory=dict)

    def of_processes(self, processes: Iterable[Process]) -> None:
        """Takes what processes printed, and their metrics."""
        for process in processes:
            name = f"{process.module} {process.pid}"
            self.found[f"output of {name}"] = "".join(process.output).encode()
            if "metrics_port" in process.ready:
                self.found[f"metrics of {name}"] = process.metrics().encode()

    def of_redis(self, port: int) -> None:
        """Takes every key and every value."""
        with redis.Redis(port=port) as admin:
            names: list[Any] = list(admin.scan_iter())
            self.found["keys in Redis"] = b"\n".join(names)
            self.found["values in Redis"] = b"\n".join(admin.get(name) or b"" for name in names)

    def of_file(self, path: Path) -> None:
        """Takes a file that a service wrote."""
        self.found[path.name] = path.read_bytes()

    def of_text(self, place: str, text: str) -> None:
        """Takes a text."""
        self.found[place] = text.encode()

    def of_errors(self, errors: Sequence[str]) -> None:
        """Takes what callers were told."""
        self.found["errors"] = "\n".join(errors).encode()

    def holding(self, mark: str) -> list[str]:
        """Returns the places that hold a marked name, in whatever writing."""
        return [place for place, content in self.found.items() if any(form in content for form in _forms(mark))]


def _forms(mark: str) -> set[bytes]:
    """Returns a name as it may be written: as text of several kinds, in hex, and in base64 wherever it begins."""
    forms = {mark.encode(code) for code in ("utf-8", "utf-16-le", "utf-16-be")}
    forms |= {mark.lower().encode(), mark.upper().encode()}
    texts = set(forms)
    for text in texts:
        forms |= {text.hex().encode(), text.hex().upper().encode()}
        for offset in range(3):
            # Of the first and last groups of base64 other bytes decide, too.
            forms.add(base64.b64encode(b"\0" * offset + text)[4:-4])
    return forms
