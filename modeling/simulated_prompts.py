"""Prompts simulated from masks, as SAM was trained (Kirillov et al., 2023, section A) and as BreastSAM prompts.

Everything is in pixels of the model's square canvas, points at pixel centres, and goes to the prompt encoder as it is.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask, Box
from modeling.evaluation import geometry
from modeling.sample import tight_box

PromptKind: TypeAlias = Literal["box", "ground", "click", "again", "clicks"]
# Canvas pixels by which BreastSAM's ground prompt widens a box, and shifts it at most; its image is about 512 wide.
GROUND_MARGIN, GROUND_SHIFT, GROUND_SCALE = 10.0, 15.0, 0.1
# Canvas pixels; a stone in a region of its own is as large.
SMALL_EXTENT = 40.0


@dataclass(frozen=True, eq=False)
class SimulatedPrompt:
    """Points and a box.

    Attributes:
        points: (n, 2) float32, (x, y).
        labels: (n,) float32, 1 foreground, 0 background.
        box: (4,) float32 or None.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.float32]
    box: NDArray[np.float32] | None = None

    def tokens(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What a decoder takes: (n, 2) coordinates, (n,) labels; a box as its corners, else a padding point, as SAM."""
        if self.box is None:
            corners, meanings = np.zeros((1, 2), np.float32), [-1]
        else:
            corners, meanings = self.box.reshape(2, 2), [2, 3]
        return np.concatenate([self.points, corners]), np.append(self.labels, np.array(meanings, np.float32))

    def with_click(self, click: tuple[float, float, bool]) -> "SimulatedPrompt":
        """The same prompt and one more point (x, y, foreground)."""
        points = np.concatenate([self.points, np.array([click[:2]], np.float32)])
        return SimulatedPrompt(points, np.append(self.labels, np.float32(click[2])), self.box)


NO_POINTS = np.zeros((0, 2), np.float32), np.zeros(0, np.float32)


def jittered_box(mask: BoolMask, random: np.random.Generator, jitter: float) -> SimulatedPrompt:
    """The mask's tight box, each edge moved uniformly by at most `jitter`, and by a tenth of its side at most."""
    box = tight_box(mask)
    width, height = box.x_max - box.x_min, box.y_max - box.y_min
    most = np.minimum(jitter, np.maximum(0.1 * np.array([width, height, width, height]), 1.0))
    return _of_box(geometry.jittered(box, most, _size(mask), random))


def ground_box(mask: BoolMask, random: np.random.Generator) -> SimulatedPrompt:
    """BreastSAM's ground prompt: a box wider by a margin, shifted and scaled at random."""
    return _of_box(
        geometry.loosened(
            tight_box(mask),
            margin=GROUND_MARGIN,
            shift=GROUND_SHIFT,
            scale=GROUND_SCALE,
            size=_size(mask),
            random=random,
        )
    )


def random_click(mask: BoolMask, random: np.random.Generator, imprecise: float = 0.0) -> SimulatedPrompt:
    """One random pixel of the mask, or, on small masks with a probability, of its tight box.

    Args:
        mask: with pixels.
        random: decides.
        imprecise: probability that a click on a mask of at most `SMALL_EXTENT` falls anywhere in its box: people who
            click on something small miss it by a pixel or two, and mean it all the same.
    """
    rows, columns = np.nonzero(mask)
    box = tight_box(mask)
    if imprecise and max(box.x_max - box.x_min, box.y_max - box.y_min) < SMALL_EXTENT and random.random() < imprecise:
        rows, columns = np.nonzero(_filled(box, mask))
    chosen = int(random.integers(len(rows)))
    point = np.array([[columns[chosen], rows[chosen]]], np.float32)
    return SimulatedPrompt(point, np.ones(1, np.float32))


def correcting_click(
    found: BoolMask, mask: BoolMask, random: np.random.Generator | None = None
) -> tuple[float, float, bool] | None:
    """The next click (x, y, foreground): in the largest error, at its deepest point, or with `random` anywhere in it.

    None where nothing is wrong. A missed part gets a foreground click, a surplus part a background click.
    """
    error = geometry.largest_error(mask, found)
    if error is None:
        return None
    part, foreground = error
    if random is None:
        point = geometry.deepest(part)
        return point.x, point.y, foreground
    rows, columns = np.nonzero(part)
    chosen = int(random.integers(len(rows)))
    return float(columns[chosen]), float(rows[chosen]), foreground


def _filled(box: Box, mask: BoolMask) -> BoolMask:
    """All pixels within a tight box, on the mask's canvas."""
    filled = np.zeros_like(mask)
    filled[round(box.y_min + 0.5) : round(box.y_max + 0.5), round(box.x_min + 0.5) : round(box.x_max + 0.5)] = True
    return filled


def _of_box(box: Box) -> SimulatedPrompt:
    return SimulatedPrompt(*NO_POINTS, geometry.edges(box).astype(np.float32))


def _size(mask: BoolMask) -> tuple[int, int]:
    return int(mask.shape[0]), int(mask.shape[1])
