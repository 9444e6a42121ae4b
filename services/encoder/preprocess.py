"""From stored pixels to what the image encoder sees.

Order (docs/concepts/geometry.md): intensity mapping to grey levels, one resize that makes pixels square and the longest
side fit, then normalisation and padding, which the backend applies. The resize is Pillow's antialiased bilinear filter,
as segment-anything's ResizeLongestSide uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from hilum.errors import NoContent
from hilum.intensity import grey_levels, valid_pixels
from hilum.serving.bundle import Normalisation
from hilum.types import Image, IntensityMapping


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


def prepare(
    image: Image,
    mapping: IntensityMapping,
    *,
    pixel_aspect: float,
    side: int,
    normalisation: Normalisation,
) -> ModelInput:
    """Returns the encoder's input for one image.

    Args:
        image: Its pixels before intensity mapping, and its padding value.
        mapping: How values become grey levels.
        pixel_aspect: Height of a pixel divided by its width.
        side: Side of the model's square input.
        normalisation: The bundle's.

    Raises:
        InvalidTensor: Identity mapping of pixels that are not uint8.
        NoContent: Every pixel is padding.
    """
    valid = valid_pixels(image)
    if valid is not None and not valid.any():
        raise NoContent("every pixel is padding", field="pixels")
    grey = grey_levels(image, mapping)
    height, width = input_size((grey.shape[0], grey.shape[1]), pixel_aspect, side)
    resized = np.asarray(PillowImage.fromarray(grey).resize((width, height), PillowImage.Resampling.BILINEAR))
    if resized.ndim == 2:
        resized = np.repeat(resized[..., None], 3, axis=2)
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[:height, :width] = resized
    offset, scale = _normalisation(normalisation, resized, grey, valid)
    return ModelInput(canvas, (height, width), offset, scale)


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
