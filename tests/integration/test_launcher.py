"""`python -m services`: everything on loopback, one ready line, one signal ends all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from hilum import Box, Client, Endpoints, Image, Prompt, Window
from hilum.serving.bundle import Bundle
from tests.integration.processes import ROOT

TIMEOUT_S = 90


@pytest.fixture
def launcher(default_bundle: Bundle) -> Iterator[tuple[subprocess.Popen[str], Endpoints]]:
    ports = ["--encoder-port", "0", "--decoder-port", "0", "--fusion-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "services", *ports], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready ")
        addresses = dict(word.split("=", 1) for word in line.split()[1:])
        yield process, Endpoints(addresses["encoder"], addresses["decoder"], addresses["fusion"])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=TIMEOUT_S)


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_it_serves_and_one_interrupt_ends_everything(launcher: tuple[subprocess.Popen[str], Endpoints]) -> None:
    """A mask comes back through the launched services, and one Ctrl-C ends all of them with exit code 0."""
    process, endpoints = launcher
    rows, columns = np.mgrid[:128, :128]
    disc = (((rows - 60) ** 2 + (columns - 64) ** 2 < 25**2) * 800).astype(np.int16)
    with Client(endpoints) as client:
        prediction = client.predict(Image(disc), [Prompt(box=Box(38, 34, 90, 86))], mapping=Window(400, 900))
    assert prediction.masks[0][0].area_px > 0
    children = descendants(process)
    assert len(children) >= 4
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(TIMEOUT_S) == 0
    assert psutil.wait_procs(children, timeout=TIMEOUT_S)[1] == []


def test_nothing_outlives_a_killed_launcher(launcher: tuple[subprocess.Popen[str], Endpoints]) -> None:
    """When the launcher dies without a chance to clean up, its services and Valkey end by themselves."""
    process, _ = launcher
    children = descendants(process)
    process.kill()
    assert psutil.wait_procs(children, timeout=TIMEOUT_S)[1] == []
