"""How the fake fusion service shows two images: the styles of the contract, a maximum instead of a pyramid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilum.fusion_style import AlphaBlend, Checkerboard, ColourOverlay, Flicker, FusionStyle, PyramidFusion
from hilum.types import BoolMask, TargetContrast

Grey = NDArray[np.uint8]
_AMBER_RGB = (255, 176, 0)
_TILES = 8


def shown(style: FusionStyle, fixed: Grey, moving: Grey, covered: BoolMask) -> Grey:
    """Returns both as one: (height, width), RGB for ColourOverlay, two frames for Flicker."""
    above = np.where(covered, moving, fixed)
    match style:
        case PyramidFusion():
            return np.maximum(fixed, above)
        case ColourOverlay(opacity):
            weight = moving[..., None] / 255 * opacity
            return np.rint((1 - weight) * fixed[..., None] + weight * _AMBER_RGB).astype(np.uint8)
        case AlphaBlend(opacity):
            return np.rint((1 - opacity) * fixed + opacity * above).astype(np.uint8)
        case Checkerboard(tile_px):
            rows, columns = np.indices(fixed.shape) // (tile_px or -(-max(fixed.shape) // _TILES))
            return np.where((rows + columns) % 2, above, fixed)
        case Flicker():
            return np.stack([fixed, above])


def visibility(picture: Grey, target: BoolMask) -> float:
    """Returns the target's contrast against all that lies outside of it, in its standard deviations."""
    inside, outside = picture[target].astype(np.float64), picture[~target].astype(np.float64)
    if outside.size == 0:
        return 0.0
    return float(abs(inside.mean() - outside.mean()) / max(outside.std(), 1.0))


def target_contrast(fixed: Grey, moving: Grey, fused: Grey, target: BoolMask) -> TargetContrast:
    """Returns how visible a target is in each."""
    return TargetContrast(*(visibility(picture, target) for picture in (fixed, moving, fused)))
