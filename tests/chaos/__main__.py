"""Does every fault to real processes and prints what came of it: `make chaos`. Writes build/chaos.json."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos.cache_faults import FAULTS as CACHE_FAULTS
from tests.chaos.fault import Fault, Observation
from tests.chaos.service_faults import FAULTS as SERVICE_FAULTS
from tests.chaos.stack import Stack, Tally
from tests.chaos.triton_faults import TritonUnderFault
from tests.chaos.triton_faults import faults as triton_faults
from tests.integration.processes import ROOT

FAULTS = [*CACHE_FAULTS, *SERVICE_FAULTS]
REPORT = ROOT / "build" / "chaos.json"


async def seen_under(fault: Fault, stack: Stack) -> Observation:
    """Does the fault; a fault that is never recovered from is an observation, too."""
    try:
        return await fault.run(stack)
    except AssertionError as error:
        return Observation(Tally(lost=[str(error)]), None, str(error))


@dataclass
class Report:
    """What is printed and written."""

    console: Console
    rows: list[dict[str, Any]] = field(default_factory=list)

    async def add(self, fault: Fault, stack: Stack) -> None:
        """Does a fault and notes what came of it."""
        begin = time.perf_counter()
        seen = await seen_under(fault, stack)
        row: dict[str, Any] = {
            "fault": fault.name,
            "observed": seen.tally.words() + (f"; {seen.note}" if seen.note else ""),
            "recovered_s": seen.recovered_s,
            "wrong": seen.tally.wrong,
            "complaints": fault.complaints(seen),
            "took_s": round(time.perf_counter() - begin, 1),
        }
        self.console.print(*_words(row), sep="; ", soft_wrap=True, markup=False)
        self.rows.append(row)

    def finish(self) -> int:
        """Prints the table and writes the file; returns how many faults were not borne as promised."""
        table = Table(title="Faults", title_justify="left")
        for heading in ("injected", "observed", "recovered in", "wrong answers", "promise"):
            table.add_column(heading, overflow="fold")
        for row in self.rows:
            table.add_row(*_words(row))
        self.console.print(table)
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(json.dumps({"faults": self.rows}, indent=2) + "\n", encoding="utf-8")
        broken = sum(bool(row["complaints"]) for row in self.rows)
        self.console.print(f"{len(self.rows)} faults, {broken} not borne as promised; {REPORT.relative_to(ROOT)}")
        return broken


def _words(row: dict[str, Any]) -> tuple[str, ...]:
    recovered = "at once" if row["recovered_s"] is None else f"{row['recovered_s']:.1f} s"
    promise = "; ".join(row["complaints"]) or "kept"
    return row["fault"], row["observed"], recovered, str(row["wrong"]), promise


async def run(faults: Sequence[Fault], console: Console, *, triton: str | None = None) -> int:
    """Does the faults one after the other; returns how many were not borne as promised.

    Args:
        faults: Of Redis and the services.
        console: Where the table is printed.
        triton: Part of the names of Triton's faults that are done, too; None for none of them.
    """
    report = Report(console)
    if faults:
        async with Stack() as stack:
            for fault in faults:
                await report.add(fault, stack)
    if triton is not None:
        await _with_triton(report, triton)
    return report.finish()


async def _with_triton(report: Report, only: str) -> None:
    under_fault = await asyncio.to_thread(TritonUnderFault)
    chosen = [fault for fault in triton_faults(under_fault) if only in fault.name]
    try:
        if not chosen:
            return
        await under_fault.start()
        address = under_fault.server.address
        async with Stack(backend="triton", triton_url=address, triton_timeout_s="8") as stack:
            for fault in chosen:
                await report.add(fault, stack)
    finally:
        await asyncio.to_thread(under_fault.close)


def main() -> int:
    """Returns 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name holds this")
    only = parser.parse_args().only
    chosen = [fault for fault in FAULTS if only in fault.name]
    return 1 if asyncio.run(run(chosen, Console(width=160), triton=only)) else 0


if __name__ == "__main__":
    sys.exit(main())
