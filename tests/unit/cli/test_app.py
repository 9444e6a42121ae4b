"""The frame of the command line: options, errors, exit codes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import hilum as package
from hilum.cli.app import TRACEBACK_VARIABLE, interrupted
from hilum.cli.console import describe
from hilum.errors import (
    BackendUnavailable,
    DeadlineExceeded,
    HilumError,
    InternalError,
    InvalidField,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    PromptNotSupported,
    TransformFlagged,
    Unauthenticated,
    UnreadableImage,
)
from hilum.testing import FakeEncoder
from tests.unit.cli.conftest import Command

TIMEOUT_S = 60


def test_version(command: Command) -> None:
    """`--version` prints the version alone and ends with 0."""
    outcome = command("--version")
    assert (outcome.code, outcome.out) == (0, f"hilum {package.__version__}\n")


@pytest.mark.parametrize("name", ["segment", "register", "fuse", "encode", "doctor"])
def test_every_command_explains_itself(command: Command, name: str) -> None:
    """`--help` of every command ends with 0 and shows its options."""
    outcome = command(name, "--help")
    assert outcome.code == 0
    assert "Usage:" in outcome.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["unknown"],
        ["segment"],
        ["--timeout", "0", "doctor"],
        ["doctor", "--unknown"],
        ["--certificate", "c.pem", "--key", "k.pem", "doctor"],
        ["--ca", "ca.pem", "--key", "k.pem", "doctor"],
    ],
)
def test_usage_errors_end_with_2(command: Command, arguments: list[str]) -> None:
    """A command line that cannot be understood ends with 2 and says how it is used."""
    outcome = command(*arguments)
    assert outcome.code == 2
    assert "Usage:" in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InvalidField("is wrong", field="prompts[1].box"), ["prompts[1].box: is wrong (INVALID_FIELD)"]),
        (BackendUnavailable("refused"), ["refused", "hilum doctor", "--encoder"]),
        (Unauthenticated("expired"), ["--token-file", "--certificate"]),
        (PermissionDenied("no"), ["Ask the operator"]),
        (DeadlineExceeded("too late"), ["--timeout"]),
        (Overloaded("busy", retry_after_s=2.5), ["(OVERLOADED)", "in 2.5 s"]),
        (Overloaded("busy"), ["later"]),
        (ModelNotFound("no"), ["hilum doctor"]),
        (PromptNotSupported("no"), ["hilum doctor"]),
        (TransformFlagged("flagged"), ["--accept-flag"]),
        (InternalError("oops"), ["log"]),
        (UnreadableImage("x.dcm: ends early"), ["x.dcm: ends early."]),
        (PermissionError(13, "Permission denied", "/x/y.png"), ["/x/y.png: Permission denied"]),
        (ZeroDivisionError("division"), ["fault of the program", "HILUM_TRACEBACK=1"]),
    ],
)
def test_errors_say_field_reason_and_what_to_do_next(error: Exception, words: list[str]) -> None:
    """Every error becomes one line that names the field, the reason and the next step where there is one."""
    line = describe(error)
    assert "\n" not in line
    for word in words:
        assert word in line


def test_an_error_is_one_line_and_exit_code_1(hilum: Command, encoder: FakeEncoder, picture: Path) -> None:
    """What a service refuses is one line on standard error, without a traceback, and 1."""
    encoder.fail_next(InternalError("something\nbroke"))
    outcome = hilum("segment", picture, "--box", "10,10,90,90")
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err.startswith("error: something broke (INTERNAL).")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    "case",
    [
        ("--ca", None, "file: No such file or directory"),
        ("--ca", "nonsense", "holds no certificates"),
        ("--token-file", "", "must hold one token"),
    ],
)
def test_a_file_that_is_of_no_use_is_one_line(
    hilum: Command, tmp_path: Path, picture: Path, case: tuple[str, str | None, str]
) -> None:
    """What is wrong with a certificate or a token is told before any call, and is not called a fault of the program."""
    option, content, told = case
    if content is not None:
        (tmp_path / "file").write_text(content)
    outcome = hilum(option, tmp_path / "file", "segment", picture, "--click", "1,1")
    assert outcome.code == 1
    assert told in outcome.err
    assert "fault of the program" not in outcome.err


def test_a_token_is_not_sent_in_the_clear(command: Command, tmp_path: Path, picture: Path) -> None:
    """Without --ca a token stays on this machine."""
    (tmp_path / "token").write_text("token")
    outcome = command(
        "--encoder", "10.0.0.1:50051", "--token-file", tmp_path / "token", "segment", picture, "--click", "1,1"
    )
    assert outcome.code == 1
    assert "without encryption" in outcome.err


def test_a_traceback_is_shown_when_asked_for(command: Command, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HILUM_TRACEBACK set, the error itself comes through."""
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    with pytest.raises(HilumError):
        command("segment", picture, "--frame", "7", "--box", "10,10,90,90")


def test_addresses_come_from_the_environment(command: Command, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HILUM_ENCODER names the encoder where --encoder does not, and the error names the address."""
    monkeypatch.setenv("HILUM_ENCODER", "127.0.0.1:1")
    outcome = command("segment", picture, "--box", "10,10,90,90")
    assert outcome.code == 1
    assert "127.0.0.1:1" in outcome.err
    assert "(BACKEND_UNAVAILABLE)" in outcome.err


def test_ctrl_c_ends_with_130(picture: Path) -> None:
    """Ctrl-C while a service does not answer ends the command with 130 and without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(TIMEOUT_S)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        arguments = ["--encoder", address, "segment", str(picture), "--box", "10,10,90,90"]
        with subprocess.Popen(
            [sys.executable, "-m", "hilum.cli", *arguments], stderr=subprocess.PIPE, text=True
        ) as run:
            connection, _ = silent.accept()
            with connection:
                run.send_signal(signal.SIGINT)
                _, err = run.communicate(timeout=TIMEOUT_S)
    assert run.returncode == 130, err
    assert "Traceback" not in err


def test_what_fails_while_ctrl_c_is_dealt_with_is_not_reported() -> None:
    """An error that a cut-off call or a closing channel raises after Ctrl-C is part of the interruption."""

    def cut_off() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise ConnectionError("closed")

    with pytest.raises(ConnectionError) as failed:
        cut_off()
    assert interrupted(failed.value)
    assert not interrupted(ConnectionError("closed"))


@pytest.mark.parametrize("missing", ["typer", "rich", "grpc_health"])
def test_a_bare_installation_says_what_to_install(missing: str) -> None:
    """Without the extra `cli` the command says how to get it, and ends with 1."""
    code = f"import sys; sys.modules[{missing!r}] = None; from hilum.cli import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=os.environ, timeout=TIMEOUT_S
    )
    assert run.returncode == 1
    assert run.stderr == f'hilum: the command line needs {missing}: pip install "hilum[cli]"\n'
