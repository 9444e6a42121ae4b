"""Tests of fusing two images through a transform."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.codec.fusion import MappedImage
from hilum.fusion_style import AlphaBlend, BaseRule, Checkerboard, ColourOverlay, Flicker, FusionStyle, PyramidFusion
from hilum.transform import Transform
from hilum.types import Identity, Image
from services.fusion.fusing import fuse
from tests.unit.fusion.phantoms import body_phantom

BODY = np.rint(255 * body_phantom(96)).astype(np.uint8)
HALF = np.diag([0.5, 0.5, 1.0])
STYLES = [
    (PyramidFusion(), (96, 96)),
    (ColourOverlay(), (96, 96, 3)),
    (AlphaBlend(), (96, 96)),
    (Checkerboard(), (96, 96)),
    (Flicker(), (2, 96, 96)),
]


def mapped(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], padding: float | None = None) -> MappedImage:
    return MappedImage(Image(pixels, padding_value=padding), Identity())


def between(matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]], moving: MappedImage, *flags: str) -> Transform:
    return Transform.from_matrix(matrix, BODY.shape, moving.image.size, flags=flags)


@pytest.mark.parametrize(("style", "shape"), STYLES)
def test_every_style_shows_images_of_two_sizes_on_the_fixed_grid(style: FusionStyle, shape: tuple[int, ...]) -> None:
    """An image of half the size is brought onto the fixed grid, and each style has its shape there."""
    moving = mapped(np.asarray(BODY[::2, ::2]))
    fused = fuse(mapped(BODY), moving, between(HALF, moving), style)
    assert fused.fused.shape == shape
    assert fused.fused.dtype == np.uint8
    assert fused.moving.shape == fused.fixed.shape == BODY.shape
    assert np.abs(fused.moving.astype(int) - BODY).mean() < 3
    assert fused.target_contrast is None


@pytest.mark.parametrize(("style", "shape"), STYLES)
def test_flags_are_drawn_into_every_style_and_every_frame(style: FusionStyle, shape: tuple[int, ...]) -> None:
    """Flags are in the picture and in both frames of flicker, never in the grey images that go with it."""
    plain, flagged = (
        fuse(mapped(BODY), mapped(BODY), between(np.eye(3), mapped(BODY), *flags), style)
        for flags in ((), ("VIEWS_DIFFER",))
    )
    assert flagged.fused.shape == shape
    frames = zip(plain.fused, flagged.fused, strict=True) if len(shape) == 3 and shape[0] == 2 else None
    for before, after in frames or [(plain.fused, flagged.fused)]:
        assert (before != after).any()
        assert (before[:48] == after[:48]).all()
    assert np.array_equal(flagged.fixed, BODY)
    assert np.array_equal(flagged.moving, BODY)


def test_where_one_image_has_no_pixels_the_other_is_shown() -> None:
    """Padding of the fixed image shows the moving one, what the moving image does not cover the fixed one."""
    fixed, moving = np.full((2, 64, 90), 100, np.uint8)
    fixed[:, :30] = 7
    moving[:] = 180
    shift = np.array([[1.0, 0, 25], [0, 1, 0], [0, 0, 1]])
    images = mapped(fixed, padding=7), mapped(moving)
    transform = Transform.from_matrix(shift, fixed.shape, moving.shape)
    fused = fuse(*images, transform, PyramidFusion(base_rule=BaseRule.AVERAGE)).fused
    assert np.abs(fused[:, :20].astype(int) - 180).max() <= 3
    assert np.abs(fused[:, 38:44].astype(int) - 140).max() <= 3
    assert np.abs(fused[:, 70:].astype(int) - 100).max() <= 3


def test_the_target_s_contrast_is_reported() -> None:
    """With a target, its contrast to noise in both images and in the picture is told, and the better one is kept."""
    random = np.random.default_rng(0)
    target = np.hypot(*(np.indices((96, 96)) - 48)) <= 6
    noise = random.normal(0, 8, (2, 96, 96))
    fixed, moving = (np.clip(90 + noise + np.array([[[0]], [[60]]]) * target, 0, 255)).astype(np.uint8)
    fused = fuse(mapped(fixed), mapped(moving), between(np.eye(3), mapped(moving)), PyramidFusion(), target)
    contrast = fused.target_contrast
    assert contrast is not None
    assert contrast.moving > 5
    assert contrast.fixed < 1
    assert contrast.fused > 0.9 * contrast.moving
