"""docs/reference/conformance.md names limits, errors and tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from hilum import errors
from services.decoder.settings import DecoderSettings
from services.encoder.settings import EncoderSettings
from services.fusion.settings import FusionSettings
from tests.architecture.test_imports import ROOT

PAGE = (ROOT / "docs/reference/conformance.md").read_text()
LIMITS, REASONS = PAGE.split("\n## All reasons\n")
# Of each row: limit, default, what changes it, reason, test.
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in LIMITS.splitlines()
    if line.startswith("| ") and not line.startswith("| limit |")
]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def defined(path: Path) -> set[str]:
    """Returns the names that a module defines at its top."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def test_every_limit_ends_with_a_test() -> None:
    """Each row of the limits has five cells, and the last is a test."""
    assert ROWS
    assert [row for row in ROWS if len(row) != 5 or not re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`", row[-1])] == []


def test_everything_that_is_named_exists() -> None:
    """Each constant and each test is defined in the file that is named with it."""
    named = NAMED.findall(PAGE)
    assert named
    assert [f"{path}::{name}" for path, name in named if name not in defined(ROOT / path)] == []


def test_every_limit_can_be_changed() -> None:
    """What changes a limit is a setting of a service, a constant, or the request itself."""
    settings = {
        f"HILUM_{field.upper()}"
        for kind in (EncoderSettings, DecoderSettings, FusionSettings)
        for field in kind.model_fields
    }
    for _, _, changed_by, _, _ in ROWS:
        variables = set(re.findall(r"`(HILUM_\w+)`", changed_by))
        assert variables <= settings, changed_by
        assert variables or NAMED.search(changed_by) or changed_by == "the shape", changed_by


def test_reasons_have_the_status_of_the_contract() -> None:
    """Each reason in a limit's row stands with its status; all reasons are listed at the end."""
    codes = {reason: error.code.name for reason, error in errors.BY_REASON.items()}
    listed = dict(re.findall(r"^\| ([A-Z_]+) \| ([A-Z_]+) \|", REASONS, re.MULTILINE))
    assert listed == codes
    assert set(codes) == errors.reason_names()
    for *_, answer, _ in ROWS:
        for reason in set(re.findall(r"[A-Z]+_[A-Z]+|OVERLOADED", answer.split(", ")[0])) & set(codes):
            assert answer.startswith((f"{reason}, {codes[reason]}", f"{reason} in the item's answer")), answer
