"""Grey levels of an image under an intensity mapping: what a model, and a reader of a picture, sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilum.errors import InvalidTensor
from hilum.types import BoolMask, Identity, Image, IntensityMapping, PercentileRange, Pixels, Window


def grey_levels(image: Image, mapping: IntensityMapping | None = None) -> NDArray[np.uint8]:
    """Returns the image as uint8, of the same shape; padding is black.

    Args:
        image: The image.
        mapping: The image's own default where None. Percentiles leave padding out.

    Raises:
        InvalidTensor: Identity mapping of pixels that are not uint8.
    """
    pixels, valid = image.pixels, valid_pixels(image)
    match mapping or image.default_mapping:
        case Identity():
            if pixels.dtype != np.uint8:
                raise InvalidTensor("identity mapping needs uint8: choose a window or a percentile", field="pixels")
            grey: NDArray[np.uint8] = pixels
        case Window(center, width):
            grey = _stretched(pixels, center - width / 2, center + width / 2)
        case PercentileRange(lower, upper):
            seen = pixels if valid is None else pixels[valid]
            low, high = np.percentile(seen, (lower, upper)) if seen.size else (0.0, 1.0)
            grey = _stretched(pixels, float(low), float(high))
    if valid is None:
        return grey
    return np.where(valid if grey.ndim == 2 else valid[..., None], grey, np.uint8(0))


def valid_pixels(image: Image) -> BoolMask | None:
    """Returns where the image has pixels that are no padding, (height, width); None for everywhere."""
    if image.padding_value is None:
        return None
    different = np.asarray(image.pixels != image.padding_value)
    return different if different.ndim == 2 else np.asarray(different.any(axis=2))


def _stretched(pixels: Pixels, low: float, high: float) -> NDArray[np.uint8]:
    scale = np.float32(255 / (high - low)) if high > low else np.float32(0)
    grey = (pixels.astype(np.float32) - np.float32(low)) * scale
    np.clip(grey, 0, 255, out=grey)
    levels: NDArray[np.uint8] = np.rint(grey).astype(np.uint8)
    return levels
