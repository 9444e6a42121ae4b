"""Runs everything on loopback: `python -m services`.

A Valkey server, the encoder, the decoder and fusion, each a process of its own. Prints one line when all are ready:

    ready encoder=127.0.0.1:50051 decoder=127.0.0.1:50052 fusion=127.0.0.1:50053 redis=redis://127.0.0.1:6380

One Ctrl-C (or SIGTERM) ends all of it in order. Nothing outlives this process, however it dies: every child watches a
pipe from it. Logs of the children go to standard error. All HILUM_* variables reach them. With `--secure DIR`, a folder
that `python -m services.development_ca DIR` made, they speak TLS, know their callers and obey the policy.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.development_ca import service_environment

STOP_TIMEOUT_S = 30.0
READY_TIMEOUT_S = 120.0


class ChildEnded(Exception):
    """A child ended before it was asked to."""


@dataclass
class Child:
    """A process that reports `{"event": "ready"}` on its standard output and ends when its standard input does."""

    name: str
    process: asyncio.subprocess.Process
    ready: asyncio.Event
    log: asyncio.Task[None]

    @classmethod
    async def start(cls, name: str, arguments: list[str], environment: Mapping[str, str]) -> Child:
        """Starts `python -m ...` in a session of its own, so that Ctrl-C reaches only this launcher."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        ready = asyncio.Event()
        return cls(name, process, ready, asyncio.create_task(_follow(process, ready)))

    async def until_ready(self) -> None:
        """Waits for the ready line; ChildEnded if the process ends first."""
        ready, ended = asyncio.create_task(self.ready.wait()), asyncio.create_task(self.process.wait())
        done, pending = await asyncio.wait((ready, ended), timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if ready not in done:
            raise ChildEnded(f"{self.name} did not start; its log above says why")

    async def stop(self) -> None:
        """Closes the pipe, waits for the drain, kills what does not end."""
        if self.process.returncode is None and self.process.stdin is not None:
            self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self.log


async def _follow(process: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
    """Passes a child's log on and notices its ready line."""
    if process.stdout is None:
        return
    async for line in process.stdout:
        with contextlib.suppress(ValueError):
            if not ready.is_set() and json.loads(line).get("event") == "ready":
                ready.set()
        sys.stderr.buffer.write(line)
        sys.stderr.flush()


def _free_port(wanted: int) -> int:
    """Returns the port, or a free one for 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return wanted or int(probe.getsockname()[1])


async def run(options: argparse.Namespace) -> int:
    """Starts the children, waits for the end, stops them in reverse order; returns the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ports = {name: _free_port(getattr(options, f"{name}_port")) for name in ("encoder", "decoder", "fusion")}
    address = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    shared = {"HILUM_HOST": "127.0.0.1", "HILUM_STOP_WITH_PARENT": "1"}
    children: list[Child] = []
    try:
        if options.redis_url is None:
            port = _free_port(options.redis_port)
            children.append(await Child.start("valkey", ["services.valkey", "--port", str(port)], {}))
            options.redis_url = f"redis://127.0.0.1:{port}"
        if options.redis_url:
            shared["HILUM_REDIS_URL"] = options.redis_url
        upstream = {"HILUM_ENCODER": address["encoder"], "HILUM_DECODER": address["decoder"]}
        extra = {"decoder": {"HILUM_ENCODERS": json.dumps([address["encoder"]])}, "fusion": upstream}
        for name, port in ports.items():
            environment = {**shared, **extra.get(name, {}), "HILUM_PORT": str(port)}
            if options.secure is not None:
                environment |= service_environment(options.secure, name)
            children.append(await Child.start(name, [f"services.{name}"], environment))
        await asyncio.gather(*(child.until_ready() for child in children))
        words = [f"{name}={where}" for name, where in address.items()]
        sys.stdout.write(" ".join(["ready", *words, f"redis={options.redis_url or 'none'}"]) + "\n")
        sys.stdout.flush()
        return await _until_stopped(children, stop)
    except ChildEnded as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        for child in reversed(children):
            await child.stop()


async def _until_stopped(children: list[Child], stop: asyncio.Event) -> int:
    """Waits for a signal, or for a service to end by itself, which ends the others; Valkey may go: it is a cache."""
    waiting = asyncio.create_task(stop.wait())
    ends = {asyncio.create_task(child.process.wait()): child for child in children if child.name != "valkey"}
    done, pending = await asyncio.wait({waiting, *ends}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    if waiting in done:
        return 0
    raise ChildEnded(f"{', '.join(ends[task].name for task in done if task in ends)} ended; stopping the others")


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder-port", type=int, default=50051, help="0 for any free port")
    parser.add_argument("--decoder-port", type=int, default=50052)
    parser.add_argument("--fusion-port", type=int, default=50053)
    parser.add_argument("--redis-port", type=int, default=0)
    parser.add_argument("--redis-url", help="use this server instead of starting Valkey; empty for none")
    parser.add_argument("--secure", type=Path, metavar="DIR", help="made by `python -m services.development_ca DIR`")
    options = parser.parse_args()
    if options.secure is not None:
        options.secure = options.secure.absolute()
        if not (options.secure / "ca.pem").is_file():
            parser.error(f"{options.secure} holds no certificates: run `python -m services.development_ca DIR`")
    return asyncio.run(run(options))


if __name__ == "__main__":
    sys.exit(main())
