"""docs/reference/security.md promises nothing that no test holds."""

import ast
import re

from tests.architecture.test_imports import ROOT

PAGE = (ROOT / "docs/reference/security.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def test_every_promise_names_a_test() -> None:
    """Each row of the promises ends with a test."""
    section = PAGE.split("\n## What is promised\n")[1].split("\n**")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert rows
    assert [row for row in rows if not re.search(r"\| `tests/[\w/]+\.py::\w+` \|$", row)] == []


def test_every_test_that_is_named_exists() -> None:
    """A test that was renamed or removed takes its promise with it."""
    assert NAMED
    for path, name in NAMED:
        tree = ast.parse((ROOT / path).read_text())
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert name in {node.name for node in tree.body if isinstance(node, functions)}, f"{path}::{name}"
