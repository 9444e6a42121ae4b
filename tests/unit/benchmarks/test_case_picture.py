"""What the picture of a case shows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.case_picture import case_picture, compared_picture, said, save_picture
from benchmarks.registrars.registrar import pixel_places
from services.fusion.registration import RegistrationImage

SIDE = 96
SHIFT = 8
TEXTURE = gaussian_filter(np.random.default_rng(0).random((SIDE, SIDE + SHIFT)), 3).astype(np.float32)
TARGET = np.zeros((SIDE, SIDE), np.bool_)
TARGET[30:60, 30:60] = True
FIXED = RegistrationImage(TEXTURE[:, :SIDE])
MOVING = RegistrationImage(TEXTURE[:, SHIFT:])
THERE = pixel_places((SIDE, SIDE)) - (SHIFT, 0)


def _seams(board: np.ndarray) -> float:
    """Mean step across the edges of the checkerboard's tiles, left of the picture's far edge and below the label."""
    grey = board[40 : 2 * SIDE, :, 0].astype(np.float64)
    return float(np.mean([np.abs(grey[:, edge] - grey[:, edge - 2]).mean() for edge in (64, 128)]))


def test_a_right_answer_leaves_no_seams() -> None:
    """Before, the images break at the tiles' edges; where the answer puts pixels where they belong, they do not."""
    picture = case_picture(FIXED, MOVING, THERE, "shifted")
    before, after, _ = np.split(picture, 3, axis=1)
    assert _seams(after) < 0.7 * _seams(before)


def test_outlines_of_targets_are_drawn_in_their_colours() -> None:
    """Both outlines are drawn, in colours of their own, and no colour without them."""
    fixed, moving = (RegistrationImage(image.pixels, targets=(TARGET,)) for image in (FIXED, MOVING))
    picture = compared_picture(fixed, moving, {"after": THERE}).astype(int)
    assert (picture[..., 1] - picture[..., 2] > 100).any()
    assert (picture[..., 2] - picture[..., 0] > 100).any()
    plain = compared_picture(FIXED, MOVING, {"after": THERE})
    assert (plain[..., 0] == plain[..., 1]).all()


def test_many_answers_stand_in_rows_of_four() -> None:
    """Before and four answers take two rows; the caption has a strip of its own."""
    ways = {f"answer {number}": THERE for number in range(4)}
    picture = compared_picture(FIXED, MOVING, ways, "many")
    assert picture.shape[1] == 4 * 2 * SIDE
    assert 2 * 2 * SIDE < picture.shape[0] < 2 * 2 * SIDE + 40


def test_a_picture_is_written_under_a_plain_name(tmp_path: Path) -> None:
    """The folder is made, and the name holds no blank, comma or slash."""
    picture = case_picture(FIXED, MOVING, THERE, said(np.array([1.0, 2.0])))
    save_picture(tmp_path / "new", "hilum, deformable a/b 1", picture)
    (path,) = (tmp_path / "new").iterdir()
    assert path.name == "hilum-deformable-a-b-1.png"
    assert np.array_equal(np.asarray(cv2.imread(str(path))), picture)
