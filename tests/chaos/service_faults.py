"""Faults of the services: typed errors only while nobody is there to answer, and nothing lost by a drain."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

from modeling.install import installed
from tests.chaos.fault import Fault, Observation
from tests.chaos.stack import Stack, Tally
from tests.integration.processes import ROOT, Process

_UNAVAILABLE = ("BackendUnavailable", "DeadlineExceeded")


def killed(name: str) -> Callable[[Stack], Awaitable[Observation]]:
    """Returns a fault: a service ends without a word while it works, and is started again in its place."""

    async def run(stack: Stack) -> Observation:
        load = asyncio.ensure_future(_load(stack, name))
        await _busy(stack, name, load)
        await asyncio.to_thread(stack.processes[name].kill)
        tally = await load
        await stack.start(name)
        recovered = await stack.until(_whole(stack, name))
        return Observation(tally + await stack.ask(), recovered)

    return run


def drained(name: str) -> Callable[[Stack], Awaitable[Observation]]:
    """Returns a fault: a service is told to end (SIGTERM) under load; what it had taken on, it answers."""

    async def run(stack: Stack) -> Observation:
        load = asyncio.ensure_future(_load(stack, name))
        await _busy(stack, name, load)
        process = stack.processes[name]
        os.kill(process.pid, signal.SIGTERM)
        await asyncio.to_thread(process.wait_for, "stopped")
        await asyncio.to_thread(process.stop)
        await stack.start(name)
        tally = await load
        cut = _cut_off(process)
        recovered = await stack.until(_whole(stack, name))
        return Observation(tally + Tally(lost=["cut off by the drain"] * cut), recovered, f"{cut} cut off")

    return run


def hung(name: str) -> Callable[[Stack], Awaitable[Observation]]:
    """Returns a fault: a service is stopped (SIGSTOP) under load, and goes on."""

    async def run(stack: Stack) -> Observation:
        pid = stack.pid(name)
        load = asyncio.ensure_future(_load(stack, name))
        await _busy(stack, name, load)
        os.kill(pid, signal.SIGSTOP)
        try:
            # Until a caller with less patience has given up: the others are still waiting.
            impatient = stack.connect(timeout_s=1.0)
            refused = await stack.ask(1, client=impatient)
            await impatient.close()
        finally:
            os.kill(pid, signal.SIGCONT)
        tally = refused + await load
        return Observation(tally, await stack.until(_whole(stack, name)))

    return run


async def two_versions(stack: Stack) -> Observation:
    """The decoder is replaced by one of another model, as halfway through an update, and back."""
    await asyncio.to_thread(stack.processes["decoder"].stop)
    await stack.start("decoder", models='["lite-medsam"]')
    tally = await stack.ask()
    await stack.fresh_decoder()
    recovered = await stack.until(stack.answers)
    return Observation(tally + await stack.ask(), recovered)


async def corrupted_bundle(stack: Stack) -> Observation:
    """One byte of the model's weights is another: a service that is started on them says so and ends."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = installed("lite-medsam-click")
        assert bundle is not None
        copy = Path(folder) / "lite-medsam-click"
        shutil.copytree(bundle.folder, copy)
        weights = max((path for path in copy.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
        data = bytearray(weights.read_bytes())
        data[len(data) // 2] ^= 1
        weights.write_bytes(data)
        run = await asyncio.to_thread(_start, "services.encoder", {"HILUM_BUNDLES": folder})
    note = f"exit code {run.returncode}"
    tally = await stack.ask()
    return Observation(tally if run.returncode == 1 and "cannot_start" in run.stdout else Tally(wrong=1), None, note)


async def disk_full(stack: Stack) -> Observation:
    """The disk is full while a bundle is installed: the installation fails, and leaves no half bundle to be served."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["bash", "-c", 'ulimit -f 2000; exec "$0" -m modeling install lite-medsam', sys.executable]
        environment = {**os.environ, "HILUM_BUNDLES": folder}
        run = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        left = await asyncio.to_thread(lambda: list(Path(folder).glob("*/manifest.json")))
    failed = run.returncode != 0 and "File too large" in run.stdout + run.stderr and not left
    return Observation(
        await stack.ask() if failed else Tally(wrong=1), None, f"exit code {run.returncode}, {len(left)} bundles left"
    )


async def _load(stack: Stack, name: str) -> Tally:
    """Asks a service many questions at once."""
    return await (stack.ask_fusion(6) if name == "fusion" else stack.ask(10))


def _cut_off(process: Process) -> int:
    """Returns how many calls began before a drain and were not answered by the service itself."""
    began = next(datetime.fromisoformat(line["timestamp"]) for line in process.log if line["event"] == "draining")
    cut = [line for line in process.log if line["event"] == "rpc" and line["code"] in {"CANCELLED", "INTERNAL"}]
    return sum(
        datetime.fromisoformat(line["timestamp"]) - timedelta(milliseconds=line["duration_ms"]) < began for line in cut
    )


def _whole(stack: Stack, name: str) -> Callable[[], Awaitable[bool]]:
    """Returns what tells that a service answers again."""
    return stack.registers if name == "fusion" else stack.answers


async def _busy(stack: Stack, name: str, load: asyncio.Future[Tally]) -> None:
    """Returns when a service has answered some and is in the middle of another; AssertionError where the load ends."""
    methods = {
        "encoder": "/hilum.v1.EncoderService/EncodeImage",
        "decoder": "/hilum.v1.DecoderService/PredictMasks",
        "fusion": "/hilum.v1.FusionService/RegisterImages",
    }
    process, method = stack.processes[name], methods[name]

    def answered() -> float:
        return process.metric("hilum_rpcs_total", method=method, code="OK")

    before = await asyncio.to_thread(answered)
    while await asyncio.to_thread(answered) < before + 2 or not process.metric("hilum_rpcs_in_flight", method=method):
        assert not load.done(), "the load ended before it was seen"


def _start(module: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HILUM_PORT": "0", **settings}
    return subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


FAULTS = [
    Fault("Encoder killed under load", killed("encoder"), _UNAVAILABLE),
    Fault("Decoder killed under load", killed("decoder"), _UNAVAILABLE),
    Fault("Fusion killed under load", killed("fusion"), _UNAVAILABLE),
    Fault("Fusion drained (SIGTERM) under load", drained("fusion"), _UNAVAILABLE),
    Fault("Encoder drained (SIGTERM) under load", drained("encoder"), _UNAVAILABLE),
    Fault("Decoder drained (SIGTERM) under load", drained("decoder"), _UNAVAILABLE),
    Fault("Encoder hung (SIGSTOP) under load", hung("encoder"), _UNAVAILABLE),
    Fault("Decoder hung (SIGSTOP) under load", hung("decoder"), _UNAVAILABLE),
    Fault("Decoder of another model version", two_versions, ("ModelMismatch", "EmbeddingNotFound")),
    Fault("Bundle with one byte changed", corrupted_bundle),
    Fault("Disk full while a bundle is installed", disk_full),
]
