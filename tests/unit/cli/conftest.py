"""The command line in this process, against the fakes of hilum.testing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import PIL.Image
import pytest

from hilum.cli.app import run
from hilum.testing import FakeEncoder, FakeModel, serve_in_thread


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """Standard error as one line, without the frame that usage errors stand in."""
        return " ".join("".join(letter for letter in self.err if letter not in "╭─╮│╰╯").split())


Command: TypeAlias = Callable[..., Outcome]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `hilum` with these arguments, its output into a pipe."""
    # Whoever runs the tests may have a width; a pipe has none.
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Outcome(code, printed.out, printed.err)

    return call


@pytest.fixture
def encoder() -> FakeEncoder:
    """Serves one model that understands everything, and one of boxes only."""
    return FakeEncoder([FakeModel(), FakeModel("boxes", points=False, mask_input=False)])


@pytest.fixture
def hilum(command: Command, encoder: FakeEncoder) -> Iterator[Command]:
    """Runs `hilum` with the addresses of fakes: an encoder and a decoder, no fusion, no health."""
    with serve_in_thread(encoder) as endpoints:
        addresses = ["--encoder", endpoints.encoder, "--decoder", endpoints.decoder, "--fusion", endpoints.fusion]

        def call(*arguments: object) -> Outcome:
            return command(*addresses, *arguments)

        yield call


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A PNG, 200 x 300."""
    path = tmp_path / "picture.png"
    levels = np.random.default_rng(0).integers(0, 255, (200, 300), dtype=np.uint8)
    PIL.Image.fromarray(levels).save(path)
    return path
