"""What the fake decoder draws: the box of a prompt filled, else a disc around each point, else the mask input.

Discs around background points are cut out. Asked for three masks, it draws the whole, a part at two thirds and a
subpart at one third of the size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask, Box, Point, Prompt

SCALES = (1.0, 2 / 3, 1 / 3)
_LOGIT = np.float32(10.0)

Grid = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """What was encoded of an image, and how it lies on the model's canvas.

    Attributes:
        size: (height, width) of what was encoded.
        input_size: (height, width) of it on the canvas.
        side: Side of the canvas.
        offset: (x, y) of its first pixel in the full image.
    """

    size: tuple[int, int]
    input_size: tuple[int, int]
    side: int
    offset: tuple[int, int]

    def pixel_centres(self) -> tuple[Grid, Grid]:
        """Returns x (1, width) and y (height, 1) of the pixels, in the full image."""
        x, y = np.arange(self.size[1]) + self.offset[0], np.arange(self.size[0]) + self.offset[1]
        return x[None].astype(np.float64), y[:, None].astype(np.float64)

    def low_res_centres(self, low_res_size: int) -> tuple[Grid, Grid]:
        """Returns x (1, n) and y (n, 1) of the low-resolution logits, in the full image, padding included."""
        canvas = (np.arange(low_res_size) + 0.5) * self.side / low_res_size
        x = canvas * self.size[1] / self.input_size[1] - 0.5 + self.offset[0]
        y = canvas * self.size[0] / self.input_size[0] - 0.5 + self.offset[1]
        return x[None], y[:, None]

    def low_res_index(self, x: Grid, y: Grid, low_res_size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Returns (rows, columns) of the logits that lie nearest to places in the full image."""
        columns = (x - self.offset[0] + 0.5) * self.input_size[1] / self.size[1] * low_res_size / self.side
        rows = (y - self.offset[1] + 0.5) * self.input_size[0] / self.size[0] * low_res_size / self.side
        last = low_res_size - 1
        return np.clip(rows, 0, last).astype(np.intp), np.clip(columns, 0, last).astype(np.intp)


def mask(prompt: Prompt, view: View, *, scale: float, radius_px: float) -> BoolMask:
    """Returns what is drawn for a prompt, (height, width) of what was encoded.

    Args:
        prompt: In full-image pixels.
        view: What was encoded.
        scale: One of SCALES.
        radius_px: Radius of a point's disc.
    """
    x, y = view.pixel_centres()
    if prompt.box is None and not prompt.points and prompt.mask_input is not None:
        return np.asarray(prompt.mask_input > 0)[view.low_res_index(x, y, len(prompt.mask_input))]
    return _drawn(prompt, x, y, scale, radius_px)


def logits(prompt: Prompt, view: View, *, scale: float, radius_px: float, low_res_size: int) -> NDArray[np.float32]:
    """Returns the drawing as logits (low_res_size, low_res_size): 10 inside, -10 outside and in the padding."""
    x, y = view.low_res_centres(low_res_size)
    if prompt.box is None and not prompt.points and prompt.mask_input is not None:
        inside = prompt.mask_input > 0
    else:
        inside = _drawn(prompt, x, y, scale, radius_px)
    inside = inside & (x <= view.offset[0] + view.size[1] - 0.5) & (y <= view.offset[1] + view.size[0] - 0.5)
    return np.where(inside, _LOGIT, -_LOGIT)


def _drawn(prompt: Prompt, x: Grid, y: Grid, scale: float, radius_px: float) -> BoolMask:
    inside = np.zeros((y.shape[0], x.shape[1]), np.bool_)
    if prompt.box is not None:
        inside |= _in_box(prompt.box, x, y, scale)
    else:
        for point in prompt.points:
            inside |= point.foreground & _near(point, x, y, radius_px * scale)
    for point in prompt.points:
        inside &= point.foreground | ~_near(point, x, y, radius_px * scale)
    return inside


def _in_box(box: Box, x: Grid, y: Grid, scale: float) -> BoolMask:
    centre_x, half_width = (box.x_min + box.x_max) / 2, scale * (box.x_max - box.x_min) / 2
    centre_y, half_height = (box.y_min + box.y_max) / 2, scale * (box.y_max - box.y_min) / 2
    inside: BoolMask = (np.abs(x - centre_x) <= half_width) & (np.abs(y - centre_y) <= half_height)
    return inside


def _near(point: Point, x: Grid, y: Grid, radius_px: float) -> BoolMask:
    near: BoolMask = (x - point.x) ** 2 + (y - point.y) ** 2 <= radius_px**2
    return near
