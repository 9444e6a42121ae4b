"""Faults of Redis and of what is in it: every question is answered, and rightly."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from tests.chaos.fault import Fault, Observation
from tests.chaos.stack import Stack


async def killed(stack: Stack) -> Observation:
    """Redis ends without a word under load, and comes back."""
    load = asyncio.ensure_future(stack.ask(6))
    await asyncio.to_thread(stack.processes["valkey"].kill)
    tally = await load + await stack.ask()
    await stack.start("valkey")
    return Observation(tally, await stack.until(stack.stores))


async def replaced(stack: Stack) -> Observation:
    """Another, empty Redis stands in its place; memory cannot know what it missed and is cleared."""
    group = "replaced"
    tally = await stack.ask(group=group)
    await asyncio.to_thread(stack.processes["valkey"].kill)
    await stack.start("valkey")
    tally += await stack.ask(group=group)
    return Observation(tally, await stack.until(stack.stores))


async def hung(stack: Stack) -> Observation:
    """Redis is stopped (SIGSTOP): connections stay open, nothing answers."""
    pid = stack.pid("valkey")
    os.kill(pid, signal.SIGSTOP)
    try:
        tally = await stack.ask(8)
    finally:
        os.kill(pid, signal.SIGCONT)
    return Observation(tally, await stack.until(stack.stores), f"{stack.count('timeout'):.0f} commands given up")


async def full(stack: Stack) -> Observation:
    """Redis is full and evicts nothing: writes are refused, reads are answered."""
    return await _configured(stack, {"maxmemory-policy": "noeviction", "maxmemory": "1"}, "full")


async def locked_out(stack: Stack) -> Observation:
    """Redis wants a password that the services do not have."""
    admin, before = stack.admin(), stack.count("error")
    admin.config_set("requirepass", "a new one")
    admin.auth("a new one")
    admin.client_kill_filter(_type="normal", skipme=True)
    try:
        tally = await stack.ask(6)
    finally:
        admin.config_set("requirepass", "")
    return Observation(tally, await stack.until(stack.stores), f"{stack.count('error') - before:.0f} commands refused")


async def read_only(stack: Stack) -> Observation:
    """Redis became a replica of a master that is not there: it refuses writes."""
    admin, before = stack.admin(), stack.count("error")
    admin.replicaof("127.0.0.1", "1")
    try:
        tally = await stack.ask(6)
    finally:
        admin.replicaof("NO", "ONE")
    return Observation(tally, await stack.until(stack.stores), f"{stack.count('error') - before:.0f} commands refused")


async def slow(stack: Stack) -> Observation:
    """Every answer of Redis takes longer than a command may."""
    before = stack.count("timeout")
    stack.proxy.delay_s = 1.0
    try:
        tally = await stack.ask(6)
    finally:
        stack.proxy.delay_s = 0.0
    return Observation(
        tally, await stack.until(stack.stores), f"{stack.count('timeout') - before:.0f} commands given up"
    )


async def cut(stack: Stack) -> Observation:
    """Connections to Redis end in the middle of a value."""
    group = "cut"
    tally = await stack.ask(group=group)
    stack.proxy.cut_after = 100_000
    try:
        await stack.fresh_decoder()
        tally += await stack.ask(group=group)
    finally:
        stack.proxy.cut_after = None
    return Observation(tally, await stack.until(stack.stores))


async def orphaned_lock(stack: Stack) -> Observation:
    """The replica that was computing an embedding has died: its lock stands until it expires."""
    group = "orphaned"
    tally = await stack.ask(group=group)
    names = stack.values()
    admin = stack.admin()
    for name in names:
        kind, tenant, identity = name.decode().split(":")[2:]
        admin.set(f"hilum:v2:lock:{kind}:{tenant}:{identity}", "of a dead replica", px=2000)
        admin.delete(name)
    await asyncio.to_thread(stack.processes["encoder"].stop)
    await stack.start("encoder")
    await stack.fresh_decoder()
    return Observation(tally + await stack.ask(group=group), None, "waited for the lock, then computed")


async def clock_back(stack: Stack) -> Observation:
    """The clock of Redis was set back an hour after a purge: for so long nothing of that group is kept there."""
    group, admin = "clock", stack.admin()
    await stack.client.purge(group=group)
    names = list(admin.scan_iter("hilum:v2:purged:*"))
    for name in names:
        seconds, _ = admin.time()
        admin.set(name, (int(seconds) + 3600) * 1000, keepttl=True)
    before = stack.count("purged")
    tally = await stack.ask(group=group)
    refused = stack.count("purged") - before
    admin.delete(*names)
    return Observation(tally, await stack.until(stack.stores), f"{refused:.0f} values not kept")


def poisoned(damage: Callable[[bytes, bytes], bytes | None]) -> Callable[[Stack], Awaitable[Observation]]:
    """Returns a fault that replaces every value in Redis; a fresh decoder reads them.

    Args:
        damage: Makes of a value, and another one, what is put in its place; None for a value of another type.
    """

    async def run(stack: Stack) -> Observation:
        group, admin = f"poisoned-{damage.__name__}", stack.admin()
        for name in stack.values():
            admin.delete(name)
        tally = await stack.ask(3, group=group)
        names = stack.values()
        values: list[Any] = [admin.get(name) for name in names]
        for index, name in enumerate(names):
            put = damage(bytes(values[index]), bytes(values[index - 1]))
            admin.delete(name)
            if put is None:
                admin.rpush(name, "no", "string")
            else:
                admin.set(name, put)
        await stack.fresh_decoder()
        tally += await stack.ask(3, group=group)
        seen = stack.count("corrupt"), stack.count("error")
        for name in names:
            admin.delete(name)
        recovered = await stack.until(stack.stores)
        return Observation(tally, recovered, f"{seen[0]:.0f} counted corrupt, {seen[1]:.0f} errors")

    return run


def flipped(value: bytes, other: bytes) -> bytes:
    """One bit, in the middle of the values."""
    del other
    middle = len(value) // 2
    return value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]


def truncated(value: bytes, other: bytes) -> bytes:
    """The last half is missing."""
    del other
    return value[: len(value) // 2]


def swapped(value: bytes, other: bytes) -> bytes:
    """A whole, valid value of another image."""
    del value
    return other


def foreign(value: bytes, other: bytes) -> bytes:
    """The value with another tenant's tag."""
    del other
    return value[:32] + b"0123456789abcdef" + value[48:]


def nonsense(value: bytes, other: bytes) -> bytes:
    """Bytes that were never a value."""
    del value, other
    return b"\x80\x04N."


def another_type(value: bytes, other: bytes) -> None:
    """A list where a string should be."""
    del value, other


async def _configured(stack: Stack, settings: dict[str, str], event: str) -> Observation:
    admin, before = stack.admin(), stack.count(event)
    was: dict[str, str] = {name: str(admin.config_get(name)[name]) for name in settings}
    for name, value in settings.items():
        admin.config_set(name, value)
    try:
        tally = await stack.ask(6)
    finally:
        for name, value in was.items():
            admin.config_set(name, value)
    return Observation(tally, await stack.until(stack.stores), f"{stack.count(event) - before:.0f} stores refused")


FAULTS = [
    Fault("Redis killed under load", killed, quick=True),
    Fault("Redis replaced by an empty one", replaced),
    Fault("Redis hung (SIGSTOP)", hung, quick=True),
    Fault("Redis full, evicting nothing", full, quick=True),
    Fault("Redis wants a password", locked_out),
    Fault("Redis turned read-only", read_only),
    Fault("Redis slower than its time limit", slow, quick=True),
    Fault("Connections to Redis cut in a value", cut),
    Fault("Lock of a dead replica", orphaned_lock),
    Fault("Clock of Redis set back after a purge", clock_back),
    *(
        Fault(f"Poisoned values: {words}", poisoned(damage))
        for words, damage in (
            ("one bit flipped", flipped),
            ("cut in half", truncated),
            ("another image's value", swapped),
            ("another tenant's tag", foreign),
            ("nonsense", nonsense),
            ("a list, no string", another_type),
        )
    ),
]
