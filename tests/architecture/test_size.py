"""Modules and functions stay small enough to be read in one go."""

import ast

from tests.architecture.test_imports import ROOT, modules

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60


def test_modules() -> None:
    """No module has more than 400 lines."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: length for name, length in lengths.items() if length > MAX_MODULE_LINES} == {}


def test_functions() -> None:
    """No function has more than 60 lines, docstring included; options that a command declares are not counted."""
    too_long = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.body[0].lineno + 1
                if length > MAX_FUNCTION_LINES:
                    too_long[f"{path.relative_to(ROOT)}:{node.name}"] = length
    assert too_long == {}


def test_no_catch_all_modules() -> None:
    """No module or package is named after what it is not: utils, common, helpers, manager, misc."""
    names = {part for path in modules() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not names & {"utils", "util", "common", "helpers", "helper", "misc", "manager", "managers"}
