"""`hilum evaluate`: errors of a known shift, against the fake of the fusion service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from hilum.geometry import ImageGeometry, PlaneFrame
from hilum.testing import FakeFusion, serve_in_thread
from hilum.transform import Transform
from hilum.transform_file import write_transform
from tests.unit.cli.conftest import Command, Outcome

SIZE = (60, 80)
SPACING_MM = 0.5


@pytest.fixture
def fusion(command: Command) -> Iterator[Command]:
    """Runs `hilum` with the address of a fake fusion service."""
    with serve_in_thread(fusion=FakeFusion()) as endpoints:

        def call(*arguments: object) -> Outcome:
            return command("--fusion", endpoints.fusion, *arguments)

        yield call


@pytest.fixture
def shift(tmp_path: Path) -> Path:
    """A transform that shifts by 3 px to the right and 4 down; a moving pixel is half a millimetre wide."""
    matrix = np.array([[1, 0, 3], [0, 1, 4], [0, 0, 1]], np.float64)
    spaced = ImageGeometry(PlaneFrame((SPACING_MM, SPACING_MM)))
    path = tmp_path / "shift.json"
    write_transform(path, Transform.from_matrix(matrix, SIZE, SIZE, moving_geometry=spaced))
    return path


def square(path: Path, x: int, y: int) -> Path:
    """A mask of 20 x 20 pixels from (x, y) on."""
    levels = np.zeros(SIZE, np.uint8)
    levels[y : y + 20, x : x + 20] = 255
    PIL.Image.fromarray(levels).save(path)
    return path


def test_landmarks_and_targets_are_measured(fusion: Command, shift: Path, tmp_path: Path) -> None:
    """One landmark that meets and one that misses by 2 px, 1 mm; a target that meets: printed, and in the file."""
    file, out = tmp_path / "points.csv", tmp_path / "evaluation.json"
    file.write_text("10,10,13,14\n\n20,30,25,34\n")
    fixed, moving = square(tmp_path / "fixed.png", 10, 12), square(tmp_path / "moving.png", 13, 16)
    points = ("--landmarks", file, "--landmark", "0,0,3,4")
    ended = fusion("evaluate", shift, *points, "--target-fixed", fixed, "--target-moving", moving, "--out", out)
    assert ended.code == 0, ended.err
    assert "3 landmarks: mean error 0.33 mm" in ended.out
    assert "largest 1.00" in ended.out
    assert "not for diagnosis" in ended.out.lower()
    written = json.loads(out.read_text())
    assert written["unit"] == "mm"
    # Those of the command line come first.
    assert written["landmarks"]["errors"] == pytest.approx([0, 0, 1], abs=1e-9)
    assert written["landmarks"]["max"] == pytest.approx(1)
    assert written["targets"][0]["dice"] == pytest.approx(1)


def test_nothing_known_is_refused(fusion: Command, shift: Path) -> None:
    """Without landmarks and targets there is nothing to say, and no service is asked."""
    ended = fusion("evaluate", shift)
    assert ended.code == 2
    assert "give landmarks or targets" in ended.complaint
    half = fusion("evaluate", shift, "--target-fixed", shift)
    assert half.code == 2
    assert "give each target in both images" in half.complaint


def test_a_mask_of_another_size_is_refused_by_name(fusion: Command, shift: Path, tmp_path: Path) -> None:
    """What the service says of a mask that is not of the image's size reaches the user."""
    small = tmp_path / "small.png"
    PIL.Image.fromarray(np.ones((10, 10), np.uint8)).save(small)
    moving = square(tmp_path / "moving.png", 0, 0)
    ended = fusion("evaluate", shift, "--target-fixed", small, "--target-moving", moving)
    assert ended.code == 1
    assert "targets[0]" in ended.complaint
