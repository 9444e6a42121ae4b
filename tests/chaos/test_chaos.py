"""The quick faults, for CI; `make chaos` does all of them and prints the table."""

import asyncio

from rich.console import Console

from hilum.serving.bundle import Bundle
from tests.chaos.__main__ import FAULTS, run


async def test_quick_faults(default_bundle: Bundle) -> None:
    """Redis killed, hung, full and slow: no wrong mask, no lost answer, no error, and it is used again afterwards."""
    del default_bundle
    quick = [fault for fault in FAULTS if fault.quick]
    async with asyncio.timeout(300):
        assert await run(quick, Console(width=160)) == 0


def test_at_least_twenty_faults_are_told_apart() -> None:
    """The table has at least 20 faults, each with a name of its own."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20
