"""Does every fault to real processes and prints what came of it: `make chaos`. Writes build/chaos.json."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

from rich.console import Console
from rich.table import Table

from tests.chaos.cache_faults import FAULTS as CACHE_FAULTS
from tests.chaos.fault import Fault, Observation
from tests.chaos.service_faults import FAULTS as SERVICE_FAULTS
from tests.chaos.stack import Stack, Tally
from tests.integration.processes import ROOT

FAULTS = [*CACHE_FAULTS, *SERVICE_FAULTS]
REPORT = ROOT / "build" / "chaos.json"


async def seen_under(fault: Fault, stack: Stack) -> Observation:
    """Does the fault; a fault that is never recovered from is an observation, too."""
    try:
        return await fault.run(stack)
    except AssertionError as error:
        return Observation(Tally(lost=[str(error)]), None, str(error))


async def run(faults: list[Fault], console: Console) -> int:
    """Does the faults one after the other; returns how many were not borne as promised."""
    table = Table(title="Faults", title_justify="left")
    for heading in ("fault", "observed", "recovered in", "wrong", "promise"):
        table.add_column(heading, overflow="fold")
    rows = []
    async with Stack() as stack:
        for fault in faults:
            begin = time.perf_counter()
            seen = await seen_under(fault, stack)
            complaints = fault.complaints(seen)
            words = seen.tally.words() + (f"; {seen.note}" if seen.note else "")
            recovered = "at once" if seen.recovered_s is None else f"{seen.recovered_s:.1f} s"
            promise = "kept" if not complaints else "; ".join(complaints)
            table.add_row(fault.name, words, recovered, str(seen.tally.wrong), promise)
            console.print(f"{fault.name}: {words}; {recovered}; {promise}", soft_wrap=True, markup=False)
            rows.append(
                {
                    "fault": fault.name,
                    "observed": words,
                    "recovered_s": seen.recovered_s,
                    "wrong": seen.tally.wrong,
                    "complaints": complaints,
                    "took_s": round(time.perf_counter() - begin, 1),
                }
            )
    console.print(table)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"faults": rows}, indent=2) + "\n", encoding="utf-8")
    return sum(bool(row["complaints"]) for row in rows)


def main() -> int:
    """Returns 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name holds this")
    chosen = [fault for fault in FAULTS if parser.parse_args().only in fault.name]
    console = Console(width=160)
    broken = asyncio.run(run(chosen, console))
    console.print(f"{len(chosen)} faults, {broken} not borne as promised; {REPORT.relative_to(ROOT)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
