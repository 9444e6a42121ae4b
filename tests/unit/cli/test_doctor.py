"""`hilum doctor` against fakes, which tell nothing of their health, and against nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from hilum.cli.checks import synthetic_picture
from hilum.errors import InternalError
from hilum.fusion_capabilities import VerifiedPair
from hilum.serving.server import Server
from hilum.serving.settings import ServiceSettings
from hilum.serving.telemetry import Telemetry
from hilum.testing import FakeDecoder, FakeEncoder, FakeFusion, FakeModel, serve_in_thread
from hilum.types import ViewRelation
from hilum.v1.decoder_service_pb2_grpc import add_DecoderServiceServicer_to_server
from hilum.v1.encoder_service_pb2_grpc import add_EncoderServiceServicer_to_server
from services.development_ca import client_environment, create, service_environment
from tests.contract.wiring import in_thread, running
from tests.unit.cli.conftest import Command


def test_services_that_work_pass(hilum: Command, encoder: FakeEncoder) -> None:
    """Models with their prompts are listed, each is tried with a picture of its own, and the exit code is 0."""
    outcome = hilum("doctor", "--without-fusion")
    assert outcome.code == 0, outcome.out
    assert "ok       self-test of fake" in outcome.out
    assert "box, mask_input, points" in outcome.out
    assert "tells nothing of its health" in outcome.out
    assert "Not for diagnosis." in outcome.out
    assert encoder.encoder_runs == 2
    hilum("doctor", "--without-fusion")
    assert encoder.encoder_runs == 4


def test_what_registrations_were_verified_on_is_told(command: Command) -> None:
    """With fusion there, its transform models and the pairs of modalities that it was verified on are listed."""
    encoder = FakeEncoder()
    pairs = [VerifiedPair("CT", "DX", ViewRelation.COMPARABLE, "phantoms", "none")]
    with serve_in_thread(encoder, FakeDecoder(encoder), FakeFusion(verified_pairs=pairs)) as endpoints:
        names = ("encoder", "decoder", "fusion")
        addresses = [word for name in names for word in (f"--{name}", getattr(endpoints, name))]
        outcome = command(*addresses, "doctor")
    assert outcome.code == 0, outcome.out
    told = " ".join(outcome.out.split())
    assert "rigid, similarity, affine, deformable; verified on CT to DX, other pairs are flagged" in told


def test_a_server_without_the_service_is_told_with_the_next_step(hilum: Command) -> None:
    """A server answers at fusion's address that serves no fusion: the self-test finds out, and the exit code is 1."""
    server = grpc.server(ThreadPoolExecutor(1))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        outcome = hilum("--fusion", address, "doctor")
    finally:
        server.stop(None).wait()
    assert outcome.code == 1
    assert "warning  fusion" in outcome.out
    assert "failed   self-test of fusion" in outcome.out
    assert "failed   registration" in outcome.out
    assert "- self-test of fusion: Is it the right service at this address" in outcome.out


def test_what_needs_a_service_that_is_down_is_left_out(command: Command) -> None:
    """With nothing at all running every service is named with its option, once, and no self-test adds noise."""
    nowhere = [word for name in ("encoder", "decoder", "fusion") for word in (f"--{name}", "127.0.0.1:1")]
    outcome = command(*nowhere, "doctor")
    assert outcome.code == 1
    for name in ("encoder", "decoder", "fusion"):
        assert f"- {name}: Start it" in outcome.out
        assert f"HILUM_{name.upper()}" in outcome.out
    assert "self-test" not in outcome.out


def test_a_model_that_does_not_segment_fails(command: Command) -> None:
    """Services that answer, but with masks that are not the disc, are told from those that work."""
    encoder = FakeEncoder([FakeModel("points", box=False)])
    with serve_in_thread(encoder, FakeDecoder(encoder, radius_px=5)) as endpoints:
        addresses = ["--encoder", endpoints.encoder, "--decoder", endpoints.decoder]
        outcome = command(*addresses, "doctor", "--without-fusion")
    assert outcome.code == 1
    assert "failed   self-test of points" in outcome.out
    assert "does not segment" in outcome.out


def test_a_service_in_trouble_fails(hilum: Command, encoder: FakeEncoder) -> None:
    """An encoder that refuses to work is told with its own words."""
    encoder.fail_next(InternalError("out of memory"))
    outcome = hilum("doctor", "--without-fusion")
    assert outcome.code == 1
    assert "failed   models" in outcome.out
    assert "out of memory" in outcome.out


def test_synthetic_pictures_are_never_alike() -> None:
    """Two runs' pictures differ, so that no cache answers for the encoder, and hold a disc that can be judged."""
    (one, disc), (other, same_disc) = (synthetic_picture(np.random.default_rng()) for _ in range(2))
    assert (one.pixels != other.pixels).any()
    assert (disc == same_disc).all()
    assert one.pixels[disc].mean() > one.pixels[~disc].mean() + 50


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Certificates and tokens of a development authority."""
    create(tmp_path / "made")
    return tmp_path / "made"


@pytest.fixture
def secured(command: Command, encoder: FakeEncoder, folder: Path) -> Iterator[Command]:
    """Runs `hilum` with the addresses of fakes behind mutual TLS and the policy."""
    environment = service_environment(folder, "encoder").items()
    secure = {name.removeprefix("HILUM_").lower(): value for name, value in environment}
    server = Server(ServiceSettings(**secure), Telemetry("encoder", stream=io.StringIO()))  # type: ignore[arg-type]  # pydantic parses text
    server.add("hilum.v1.EncoderService", add_EncoderServiceServicer_to_server, encoder)
    server.add("hilum.v1.DecoderService", add_DecoderServiceServicer_to_server, FakeDecoder(encoder))
    with in_thread(running(server)) as address:
        yield lambda *arguments: command("--encoder", address, "--decoder", address, *arguments)


def _variables(monkeypatch: pytest.MonkeyPatch, folder: Path, role: str, *left_out: str) -> None:
    for name, value in client_environment(folder, role).items():
        if name not in left_out:
            monkeypatch.setenv(name, value)


def test_it_says_how_it_is_connected(secured: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With certificates and a token from the environment everything passes, and the report says what was used."""
    _variables(monkeypatch, folder, "annotator")
    outcome = secured("doctor", "--without-fusion")
    assert outcome.code == 0, outcome.out
    words = " ".join(outcome.out.split())
    assert f"ok connection TLS, servers trusted by {folder}/ca.pem" in words.replace("- ", "-")
    assert "token from" in words


def test_a_role_that_is_missing_is_not_a_fault(secured: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A viewer's self-tests are denied, with the role that is needed and whom to ask."""
    _variables(monkeypatch, folder, "viewer")
    outcome = secured("doctor", "--without-fusion")
    assert outcome.code == 1
    assert "needs one of the roles: annotator, service" in " ".join(outcome.out.split())
    assert "Ask the operator for the role" in outcome.out


@pytest.mark.parametrize(
    ("left_out", "step"),
    [
        (("HILUM_CERTIFICATE", "HILUM_KEY"), "does it take your --certificate?"),
        (("HILUM_CA", "HILUM_CERTIFICATE", "HILUM_KEY"), "Does it speak TLS? Then give --ca."),
    ],
)
def test_a_refused_handshake_is_told_from_nothing(
    secured: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, left_out: tuple[str, ...], step: str
) -> None:
    """A refused handshake and nothing at all sound the same to gRPC; the report says what to look at."""
    _variables(monkeypatch, folder, "annotator", *left_out)
    outcome = secured("--timeout", "20", "doctor", "--without-fusion")
    assert outcome.code == 1
    assert step in " ".join(outcome.out.split())
