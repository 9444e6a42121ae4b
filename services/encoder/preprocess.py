"""From stored pixels to what the image encoder sees.

Order (docs/concepts/geometry.md): intensity mapping to grey levels, one resize that makes pixels square and the longest
side fit, then normalisation and padding, which the backend applies. The resize is Pillow's antialiased bilinear filter,
as segment-anything's ResizeLongestSide uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from hilum.errors import InvalidTensor, NoContent
from hilum.serving.bundle import Normalisation
from hilum.types import Identity, IntensityMapping, PercentileRange, Window


@dataclass(frozen=True)
class ModelInput:
    """One image for the encoder's backend.

    The network sees (canvas - offset) * scale per channel inside input_size and zero outside, so that backends can move
    bytes instead of floats.

    Attributes:
        canvas: (side, side, 3) uint8; the image in the upper left corner, zeros elsewhere.
        input_size: (height, width) of the image on the canvas.
        offset: (3,) float32.
        scale: (3,) float32.
    """

    canvas: NDArray[np.uint8]
    input_size: tuple[int, int]
    offset: NDArray[np.float32]
    scale: NDArray[np.float32]

    def normalised(self) -> NDArray[np.float32]:
        """Returns the network's input (1, 3, side, side) float32."""
        height, width = self.input_size
        side = self.canvas.shape[0]
        planes = np.zeros((1, 3, side, side), np.float32)
        inside = self.canvas[:height, :width].astype(np.float32)
        planes[0, :, :height, :width] = ((inside - self.offset) * self.scale).transpose(2, 0, 1)
        return planes


def input_size(image_size: tuple[int, int], pixel_aspect: float, side: int) -> tuple[int, int]:
    """Returns (height, width) on the canvas: square pixels, longest side = side, at least one pixel each."""
    height, width = image_size[0] * pixel_aspect, float(image_size[1])
    scale = side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def grey_levels(
    pixels: NDArray[Any], mapping: IntensityMapping, padding_value: float | None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Returns pixels as uint8 of the same shape, and where they are image (None: everywhere).

    Raises:
        InvalidTensor: Identity mapping of pixels that are not uint8.
        NoContent: Every pixel is padding.
    """
    valid = None if padding_value is None else _not_padding(pixels, padding_value)
    match mapping:
        case Identity():
            if pixels.dtype != np.uint8:
                raise InvalidTensor("identity mapping needs UINT8; choose a window or a percentile", field="pixels")
            grey = pixels
        case Window(center, width):
            grey = _stretch(pixels, center - width / 2, center + width / 2)
        case PercentileRange(lower, upper):
            low, high = np.percentile(pixels if valid is None else pixels[valid], (lower, upper))
            grey = _stretch(pixels, float(low), float(high))
    if valid is not None:
        grey = np.where(valid if grey.ndim == 2 else valid[..., None], grey, np.uint8(0))
    return grey, valid


def prepare(
    pixels: NDArray[Any],
    mapping: IntensityMapping,
    *,
    pixel_aspect: float,
    padding_value: float | None,
    side: int,
    normalisation: Normalisation,
) -> ModelInput:
    """Returns the encoder's input for one image.

    Args:
        pixels: (height, width) or (height, width, 3), before intensity mapping.
        mapping: How values become grey levels.
        pixel_aspect: Height of a pixel divided by its width.
        padding_value: Value of pixels that are no image, or None.
        side: Side of the model's square input.
        normalisation: The bundle's.

    Raises:
        InvalidTensor: Identity mapping of pixels that are not uint8.
        NoContent: Every pixel is padding.
    """
    grey, valid = grey_levels(pixels, mapping, padding_value)
    height, width = input_size((grey.shape[0], grey.shape[1]), pixel_aspect, side)
    resized = np.asarray(PillowImage.fromarray(grey).resize((width, height), PillowImage.Resampling.BILINEAR))
    if resized.ndim == 2:
        resized = np.repeat(resized[..., None], 3, axis=2)
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[:height, :width] = resized
    offset, scale = _normalisation(normalisation, resized, grey, valid)
    return ModelInput(canvas, (height, width), offset, scale)


def _not_padding(pixels: NDArray[Any], padding_value: float) -> NDArray[np.bool_]:
    valid: NDArray[np.bool_] = pixels != padding_value
    if valid.ndim == 3:
        valid = valid.any(axis=2)
    if not valid.any():
        raise NoContent("every pixel is padding", field="pixels")
    return valid


def _stretch(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    scale = np.float32(255 / (high - low)) if high > low else np.float32(0)
    grey = (pixels.astype(np.float32) - np.float32(low)) * scale
    np.clip(grey, 0, 255, out=grey)
    return np.rint(grey).astype(np.uint8)


def _normalisation(
    normalisation: Normalisation,
    resized: NDArray[np.uint8],
    grey: NDArray[np.uint8],
    valid: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if normalisation.kind == "mean_std":
        offset = np.asarray(normalisation.mean, np.float32)
        return offset, (1 / np.asarray(normalisation.std, np.float32)).astype(np.float32)
    # Min-max runs over what is encoded; padding would widen the range, so with padding the unresized image decides.
    seen = resized if valid is None else grey[valid]
    low, high = np.float32(seen.min()), np.float32(seen.max())
    scale = np.float32(1) / max(high - low, np.float32(1e-8))
    return np.full(3, low), np.full(3, scale, np.float32)
