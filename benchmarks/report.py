"""Where figures go: a table on the terminal and build/bench.json."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "build" / "bench.json"


def machine() -> str:
    """Names the processor and the number of cores this process may use."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":", 1)[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def show(title: str, figures: Mapping[str, float]) -> None:
    """Prints figures as a table."""
    table = Table(title=f"{title} ({machine()})")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)


def save(figures: Mapping[str, float]) -> None:
    """Adds figures to build/bench.json, a flat object; others that stand there stay."""
    FILE.parent.mkdir(exist_ok=True)
    known: dict[str, object] = json.loads(FILE.read_text()) if FILE.exists() else {}
    known |= {name: round(value, 4) for name, value in figures.items()}
    known["machine"] = machine()
    FILE.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")


def main(measure: Callable[[], Mapping[str, float]]) -> None:
    """Runs one benchmark, prints its figures, and saves them."""
    figures = measure()
    show(measure.__module__, figures)
    save(figures)
