"""Fusing a moving image into a fixed one: grey levels, resampling, a style, flags drawn in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.codec.fusion import MappedImage
from hilum.fusion_style import AlphaBlend, Checkerboard, ColourOverlay, Flicker, FusionStyle, PyramidFusion
from hilum.intensity import grey_levels, valid_pixels
from hilum.transform import Transform
from hilum.types import BoolMask, TargetContrast
from services.fusion.blend import alpha_blend
from services.fusion.burning import burn
from services.fusion.checkerboard import checkerboard
from services.fusion.contrast import contrast_to_noise
from services.fusion.emphasis import Emphasis
from services.fusion.fading import faded
from services.fusion.flicker import flicker
from services.fusion.overlay import colour_overlay
from services.fusion.pyramid import fuse_images
from services.fusion.resampling import resample

Grey = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Fused:
    """Two images as one, on the fixed grid, (height, width).

    Attributes:
        fused: uint8, with the transform's flags drawn in: (height, width); of ColourOverlay (height, width, 3), RGB;
            of Flicker (2, height, width), fixed and moving.
        fixed: The fixed image's grey levels, uint8.
        moving: The moving image's grey levels on the fixed grid, uint8, 0 where it has no pixels.
        coverage: Where the moving image has pixels.
        target_contrast: How visible the target is; None where none was given.
    """

    fused: Grey
    fixed: Grey
    moving: Grey
    coverage: BoolMask
    target_contrast: TargetContrast | None


@dataclass(frozen=True, eq=False)
class OneGrid:
    """Two images' grey levels on one grid, uint8 (height, width), and where each has pixels."""

    fixed: Grey
    moving: Grey
    fixed_coverage: BoolMask
    moving_coverage: BoolMask

    @classmethod
    def of(cls, fixed: MappedImage, moving: MappedImage, transform: Transform) -> OneGrid:
        """The moving image resampled onto the fixed one's grid; InvalidTensor for identity of other than uint8."""
        grey, valid = grey_levels(fixed.image, fixed.mapping), valid_pixels(fixed.image)
        resampled = resample(
            grey_levels(moving.image, moving.mapping),
            transform.planar_warp,
            fixed.image.size,
            valid=valid_pixels(moving.image),
        )
        covered = np.ones(grey.shape, np.bool_) if valid is None else valid
        return cls(grey, resampled.pixels, covered, resampled.coverage)


def fuse(
    fixed: MappedImage,
    moving: MappedImage,
    transform: Transform,
    style: FusionStyle,
    target: BoolMask | None = None,
) -> Fused:
    """Returns the two images as one on the fixed grid.

    Args:
        fixed: The image whose grid it is.
        moving: The image that is resampled.
        transform: Fixed to moving.
        style: How both are shown.
        target: (height, width) of the fixed image: PyramidFusion takes it and its surroundings from the image that
            shows it with more contrast to noise.

    Raises:
        InvalidTensor: Identity mapping of pixels that are not uint8.
    """
    images = OneGrid.of(fixed, moving, transform)
    picture, contrast = _drawn(images, style, target)
    frames = picture if isinstance(style, Flicker) else picture[None]
    burned = np.stack([burn(frame, transform.flags) for frame in frames])
    return Fused(burned.reshape(picture.shape), images.fixed, images.moving, images.moving_coverage, contrast)


def _drawn(images: OneGrid, style: FusionStyle, target: BoolMask | None) -> tuple[Grey, TargetContrast | None]:
    both = images.fixed, images.moving
    match style:
        case PyramidFusion():
            return _pyramid(images, style, target)
        case ColourOverlay(opacity):
            return colour_overlay(*both, opacity), None
        case AlphaBlend(opacity):
            return alpha_blend(*both, images.moving_coverage, opacity), None
        case Checkerboard(tile_px):
            return checkerboard(*both, images.moving_coverage, tile_px), None
        case Flicker():
            return flicker(*both, images.moving_coverage), None


def _pyramid(images: OneGrid, rule: PyramidFusion, target: BoolMask | None) -> tuple[Grey, TargetContrast | None]:
    # Where one image has no pixels the other is shown, not half of it.
    only_moving = ~images.fixed_coverage & images.moving_coverage
    fixed = _unit(np.where(only_moving, images.moving, images.fixed))
    moving = faded(fixed, _unit(images.moving), images.moving_coverage)
    emphasis = None if target is None else Emphasis.on_target(target, fixed, moving)
    picture: Grey = np.rint(fuse_images(fixed, moving, rule, emphasis=emphasis) * 255).astype(np.uint8)
    if target is None:
        return picture, None
    return picture, TargetContrast(*(contrast_to_noise(image, target) for image in (fixed, moving, picture)))


def _unit(grey: Grey) -> NDArray[np.float32]:
    return grey.astype(np.float32) / np.float32(255)
