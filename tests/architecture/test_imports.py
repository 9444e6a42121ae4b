"""Who imports whom."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PACKAGES = ("hilum", "services", "modeling", "benchmarks", "examples", "deploy", "protos", "tests")
# What the extras bring; a client that only talks to services pays for none of it.
HEAVY = (
    "torch",
    "cv2",
    "onnxruntime",
    "onnx",
    "openvino",
    "pydicom",
    "highdicom",
    "nibabel",
    "gdcm",
    "PIL",
    "typer",
    "rich",
    "structlog",
    "prometheus_client",
    "pydantic",
    "redis",
    "scipy",
    "matplotlib",
    "tritonclient",
    "opentelemetry",
    "services",
    "modeling",
)


def modules() -> list[Path]:
    """Returns every Python file that we wrote."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in paths if ROOT / "hilum" / "v1" not in path.parents]


@pytest.mark.parametrize("name", ["hilum", "hilum.testing"])
def test_the_client_library_stays_light(name: str) -> None:
    """`import hilum`, and the fakes, load grpcio, protobuf and numpy, and nothing that an extra brings."""
    code = f"import {name}, sys; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = {module.partition(".")[0] for module in run.stdout.splitlines()}
    assert {"grpc", "numpy", "hilum"} <= loaded
    assert not loaded & set(HEAVY)


def test_layers() -> None:
    """The import-linter contracts in pyproject.toml are kept."""
    run = subprocess.run(
        [BIN / "lint-imports", "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True, env=os.environ
    )
    assert run.returncode == 0, run.stdout
    assert " 0 broken" in run.stdout


def test_no_pickle() -> None:
    """Nothing is pickled or unpickled; only the error that torch raises when it refuses a pickle is named."""
    uses = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in {
                "pickle",
                "cPickle",
                "dill",
                "cloudpickle",
                "joblib",
            }:
                uses.add((path.name, f"from {node.module}"))
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pickle":
                uses.add((path.name, node.attr))
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                uses.add((path.name, "allow_pickle"))
    assert uses <= {("models.py", "UnpicklingError")}


def test_every_torch_load_refuses_code() -> None:
    """torch.load, which unpickles, is always called with weights_only=True."""
    calls = [
        node
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert calls
    for call in calls:
        assert any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in call.keywords)
