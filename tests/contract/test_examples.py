"""The examples that are clients, run as their users run them."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from hilum.testing import FakeEncoder, serve_in_thread

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "without_sdk.py"


def test_the_client_without_sdk(tmp_path: Path) -> None:
    """The client that is written from the .proto alone gets the mask of its box, and sends its pixels only once."""
    picture, result = tmp_path / "slice.png", tmp_path / "mask.png"
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8)
    Image.fromarray(pixels).save(picture)
    encoder = FakeEncoder()
    with serve_in_thread(encoder) as endpoints:
        command = [sys.executable, "-m", "examples.without_sdk", str(picture), "9.5", "19.5", "29.5", "49.5"]
        addresses = ["--encoder", endpoints.encoder, "--decoder", endpoints.decoder, "--out", str(result)]
        environment = {**os.environ, "GRPC_VERBOSITY": "ERROR"}
        for _ in range(2):
            run = subprocess.run(
                [*command, *addresses], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
            )
            assert run.stdout.startswith("600 px")
    mask = np.asarray(Image.open(result)) > 0
    expected = np.zeros((60, 80), np.bool_)
    expected[20:50, 10:30] = True
    assert np.array_equal(mask, expected)
    assert encoder.encoder_runs == 1


def test_it_is_without_sdk() -> None:
    """It imports nothing of hilum but the generated stubs."""
    imported = set()
    for node in ast.walk(ast.parse(EXAMPLE.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            imported.add(node.module)
        elif isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
    assert {name for name in imported if name.startswith("hilum")} == {"hilum.v1"}
