"""The reference of the command line, held against the command line."""

from __future__ import annotations

import re

from typer.main import get_command

from hilum.cli.app import app
from hilum.cli.values import PRESETS
from tests.integration.processes import ROOT

REFERENCE = (ROOT / "docs" / "reference" / "cli.md").read_text()
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
_NOT_DESCRIBED = {"--help"}


def options() -> dict[str, set[str]]:
    """Returns the options of every command, those of all under "", those of a group's commands under both names."""
    found: dict[str, set[str]] = {}
    commands = [("", get_command(app))]
    while commands:
        name, command = commands.pop()
        found[name] = {word for option in command.params for word in option.opts if word.startswith("--")}
        below = getattr(command, "commands", {})
        commands += [(f"{name} {inner}".strip(), each) for inner, each in below.items()]
    return {name: words - _NOT_DESCRIBED for name, words in found.items()}


def test_every_command_and_option_is_described() -> None:
    """Each command has a section, and each of its options stands in the reference."""
    assert "transform convert" in options()
    for name, words in options().items():
        assert not name or f"# hilum {name}" in REFERENCE
        for word in words:
            assert f"`{word}" in REFERENCE, f"{name} {word}"


def test_no_option_is_described_that_does_not_exist() -> None:
    """The reference, and calls of `hilum` in how-to pages, name only options that some command has."""
    calls = [line for path in HOW_TO for line in path.read_text().splitlines() if line.strip().startswith("hilum ")]
    assert calls
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join([REFERENCE, *calls])))
    assert named <= set().union(*options().values())


def test_presets_are_described_with_their_numbers() -> None:
    """Names and windows of presets are those of the code, in order."""
    assert "\\|".join(PRESETS) in REFERENCE
    assert "; ".join(f"{window.center:g},{window.width:g}" for window in PRESETS.values()) in REFERENCE
