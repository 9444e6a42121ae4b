"""`python -m services`: everything on loopback, one ready line, one signal ends all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from hilum import Box, Client, Endpoints, Image, Prompt, Tls, ViewRelation, Window
from hilum.errors import BackendUnavailable, PermissionDenied, Unauthenticated
from hilum.serving.bundle import Bundle
from hilum.types import TargetPair
from services.development_ca import create
from tests.integration.processes import ROOT

TIMEOUT_S = 90


@contextmanager
def launched(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Endpoints]]:
    """Runs the launcher; yields it and where its services are."""
    ports = ["--encoder-port", "0", "--decoder-port", "0", "--fusion-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "services", *ports, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
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


@pytest.fixture
def launcher(default_bundle: Bundle) -> Iterator[tuple[subprocess.Popen[str], Endpoints]]:
    del default_bundle  # only that it is installed
    with launched() as running:
        yield running


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


def test_with_a_development_authority_it_knows_its_callers(default_bundle: Bundle, tmp_path: Path) -> None:
    """`--secure DIR` serves over mutual TLS: who is allowed is answered, through all three services; others are not."""
    del default_bundle  # only that it is installed
    folder = tmp_path / "secure"
    create(folder)
    rows, columns = np.mgrid[:128, :128]
    disc = Image((((rows - 60) ** 2 + (columns - 64) ** 2 < 25**2) * 800).astype(np.int16))
    prompt, window = Prompt(box=Box(38, 34, 90, 86)), Window(400, 900)
    annotator = Tls(folder / "ca.pem", folder / "annotator-client.pem", folder / "annotator-client-key.pem")
    with launched("--secure", str(folder)) as (process, endpoints):
        # By the certificate alone: fusion asks encoder and decoder on its caller's behalf.
        with Client(endpoints, tls=annotator) as client:
            registration = client.register(
                disc,
                disc,
                view_relation=ViewRelation.COMPARABLE,
                targets=[TargetPair(prompt, prompt)],
                fixed_mapping=window,
                moving_mapping=window,
            )
            assert registration.transform
            assert client.predict(disc, [prompt], mapping=window).masks[0][0].area_px > 0
        with (
            Client(endpoints, tls=annotator, token=folder / "viewer.jwt") as client,
            pytest.raises(PermissionDenied, match="annotator"),
        ):
            client.predict(disc, [prompt], mapping=window)
        with Client(endpoints, tls=annotator, token=lambda: "guess") as client, pytest.raises(Unauthenticated):
            client.models()
        with (
            Client(endpoints, tls=Tls(folder / "ca.pem"), token=folder / "annotator.jwt") as client,
            pytest.raises(BackendUnavailable),
        ):
            client.models()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0


def test_a_folder_without_certificates_is_refused(tmp_path: Path) -> None:
    """The launcher names the command that makes them, and starts nothing."""
    command = [sys.executable, "-m", "services", "--secure", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert ended.returncode == 2
    assert "python -m services.development_ca" in ended.stderr
