"""From low-resolution logits to masks of the image.

segment-anything upscales logits bilinearly to the model's square canvas, cuts the padding off, and resizes bilinearly
to the image. Both steps are linear and separable, so their composition is one small matrix per axis: image rows x
low-res rows. Only the rows and columns that can reach a threshold are computed, in blocks, and nothing larger than a
block is ever held as floats: a small mask in a large radiograph costs what the mask costs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

STABILITY_OFFSET = 1.0
_BLOCK_PIXELS = 1 << 19

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class MaskWindow:
    """A mask and its scores; the image outside the window is background.

    Attributes:
        mask: (height, width) bool, the window's pixels.
        row: First row of the window in the image.
        column: First column.
        area: Foreground pixels.
        stability_score: Area at threshold + offset divided by area at threshold - offset; 1 where both are empty.
        any_logit_above: Whether any low-resolution logit reached the threshold, in the padding too.
    """

    mask: NDArray[np.bool_]
    row: int
    column: int
    area: int
    stability_score: float
    any_logit_above: bool

    def bounds(self) -> tuple[int, int, int, int] | None:
        """Returns (first row, first column, last row, last column) of the foreground in the image, or None."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if not rows.size:
            return None
        return (
            int(self.row + rows[0]),
            int(self.column + columns[0]),
            int(self.row + rows[-1]),
            int(self.column + columns[-1]),
        )

    def moved(self, columns: int, rows: int) -> MaskWindow:
        """Returns the same mask in an image in which this one starts at (columns, rows)."""
        return replace(self, row=self.row + rows, column=self.column + columns)

    def full(self, image_size: tuple[int, int]) -> NDArray[np.bool_]:
        """Returns the mask of the whole image (height, width)."""
        image = np.zeros(image_size, np.bool_)
        height, width = self.mask.shape
        image[self.row : self.row + height, self.column : self.column + width] = self.mask
        return image


class MaskUpscaler:
    """Upscales low-resolution logits of images of one size.

    Args:
        image_size: (height, width) of what was encoded.
        input_size: (height, width) of it on the model's canvas.
        side: Side of the canvas.
        low_res_size: Side of the logits.
    """

    def __init__(self, image_size: tuple[int, int], input_size: tuple[int, int], side: int, low_res_size: int) -> None:
        self.image_size = image_size
        self._rows = _composed(low_res_size, side, input_size[0], image_size[0])
        self._columns = _composed(low_res_size, side, input_size[1], image_size[1])

    def __call__(
        self, logits: NDArray[np.float32], threshold: float, stability_offset: float = STABILITY_OFFSET
    ) -> MaskWindow:
        """Returns the mask of logits (low_res_size, low_res_size) above the threshold.

        Args:
            logits: The model's answer.
            threshold: Above it is foreground.
            stability_offset: How far the threshold moves up and down for the stability score.
        """
        low = threshold - stability_offset
        above: NDArray[np.bool_] = logits > low
        any_above = bool((logits > threshold).any())
        rows = _reached(self._rows, np.any(above, axis=1))
        columns = _reached(self._columns, np.any(above, axis=0))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return MaskWindow(np.zeros((0, 0), np.bool_), 0, 0, 0, 1.0, any_above)
        mask = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
        source_columns = _support(self._columns[columns])
        across = np.ascontiguousarray(self._columns[columns, source_columns].T)
        counts = np.zeros(3, np.int64)
        step = max(1, _BLOCK_PIXELS // mask.shape[1])
        for begin in range(0, mask.shape[0], step):
            down = self._rows[rows.start + begin : min(rows.start + begin + step, rows.stop)]
            source_rows = _support(down)
            block = (down[:, source_rows] @ logits[source_rows, source_columns]) @ across
            inside = block > threshold
            mask[begin : begin + len(down)] = inside
            counts += (
                np.count_nonzero(block > threshold + stability_offset),
                np.count_nonzero(inside),
                np.count_nonzero(block > low),
            )
        stability = float(counts[0] / counts[2]) if counts[2] else 1.0
        return MaskWindow(mask, rows.start, columns.start, int(counts[1]), stability, any_above)


def _bilinear(source: int, target: int) -> NDArray[np.float64]:
    """Returns the (target, source) matrix of torch's bilinear interpolation, align_corners=False."""
    positions = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, None)
    first = np.minimum(np.floor(positions).astype(np.int64), source - 1)
    second = np.minimum(first + 1, source - 1)
    weight = positions - first
    matrix, rows = np.zeros((target, source)), np.arange(target)
    matrix[rows, first] = 1 - weight
    # At the last source row first and second are one.
    matrix[rows, second] += weight
    return matrix


def _composed(low_res_size: int, side: int, input_length: int, image_length: int) -> Matrix:
    to_image = _bilinear(input_length, image_length)
    if side == low_res_size:
        # The first step changes nothing; only the padding's columns are missing.
        return np.pad(to_image, ((0, 0), (0, side - input_length))).astype(np.float32)
    return (to_image @ _bilinear(low_res_size, side)[:input_length]).astype(np.float32)


def _reached(matrix: Matrix, above: NDArray[np.bool_]) -> slice:
    """Returns the image rows that depend on any low-res row marked in `above`."""
    touched = np.flatnonzero(matrix @ above.astype(np.float32))
    return slice(int(touched[0]), int(touched[-1]) + 1) if touched.size else slice(0, 0)


def _support(matrix: Matrix) -> slice:
    """Returns the range of low-res rows that these image rows depend on."""
    used = np.flatnonzero(matrix.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)
