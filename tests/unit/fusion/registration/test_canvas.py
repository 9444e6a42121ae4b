"""Tests of the canvases that images are registered on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.errors import HilumError, InvalidField, NoContent
from services.fusion.registration.alignment import Alignment
from services.fusion.registration.canvas import RegistrationImage, canvas_extents, draw, working_from_pixel
from services.fusion.registration.workspace import CanvasPair, Workspace
from tests.unit.fusion.phantoms import body_phantom

sides = st.integers(8, 90)
spacings = st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0))


def ramp(height: int, width: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    y, x = np.mgrid[:height, :width]
    return np.asarray(1.0 * x + 2.0 * y)


@given(sides, sides, spacings)
@settings(deadline=None)
def test_drawn_pixels_lie_where_the_matrix_says(height: int, width: int, spacing: tuple[float, float]) -> None:
    """A ramp has on the canvas, at each inner pixel, the value of the position that the matrix gives."""
    image = RegistrationImage(ramp(height, width), spacing)
    extent = max(image.extent)
    size = 64
    canvas = draw(image, extent, size)
    centres = (2.0 * np.arange(size) + 1.0) / size - 1.0
    x, y = np.meshgrid(centres, centres)
    pixel_from_working = np.linalg.inv(working_from_pixel(image, extent))
    column = pixel_from_working[0, 0] * x + pixel_from_working[0, 2]
    row = pixel_from_working[1, 1] * y + pixel_from_working[1, 2]
    step = 2.0 / size / np.diag(working_from_pixel(image, extent))[:2]
    margin_x, margin_y = (1 + 2 * max(step[0], 1), 1 + 2 * max(step[1], 1))
    inner = (column > margin_x) & (column < width - 1 - margin_x) & (row > margin_y) & (row < height - 1 - margin_y)
    low, high = np.percentile(image.pixels, (1, 99))
    expected = (column + 2.0 * row - low) / (high - low)
    assert np.allclose(canvas.pixels.numpy()[inner], expected[inner], atol=0.02)
    assert canvas.valid.numpy()[inner].all()


@given(sides, sides, spacings)
@settings(deadline=None)
def test_corners_of_the_longer_side_lie_on_the_canvas_edges(
    height: int, width: int, spacing: tuple[float, float]
) -> None:
    """The image's centre is the origin and its longer side spans the canvas from edge to edge."""
    image = RegistrationImage(ramp(height, width), spacing)
    matrix = working_from_pixel(image, max(image.extent))
    assert np.allclose(matrix @ [(width - 1) / 2, (height - 1) / 2, 1.0], [0.0, 0.0, 1.0])
    far = matrix @ [width - 0.5, height - 0.5, 1.0]
    assert max(far[:2]) == pytest.approx(1.0)


def test_images_with_spacing_share_millimetres_and_others_their_field_of_view() -> None:
    """With two spacings one canvas extent serves both; with one missing, each image fills its own canvas."""
    small, large = RegistrationImage(ramp(10, 20), (1.0, 1.0)), RegistrationImage(ramp(40, 30), (2.0, 2.0))
    assert canvas_extents(small, large) == (80.0, 80.0)
    assert canvas_extents(small, replace(large, spacing_mm=None)) == (20.0, 40.0)


def test_padding_is_invalid_and_not_mixed_in() -> None:
    """Padding lies outside `valid`, and what it held does not show at the pixels beside it."""
    pixels = body_phantom(128)
    valid = np.ones_like(pixels, bool)
    valid[:50] = False
    clean = draw(RegistrationImage(np.where(valid, pixels, 0.0), valid=valid), 128.0, 64)
    spoiled = draw(RegistrationImage(np.where(valid, pixels, np.nan)), 128.0, 64)
    assert clean.valid[:24].sum() == 0
    assert clean.valid[26:].all()
    assert torch.equal(clean.valid, spoiled.valid)
    assert torch.allclose(clean.pixels * clean.valid, spoiled.pixels * spoiled.valid, atol=1e-5)


def test_halving_keeps_valid_means() -> None:
    """A halved canvas holds means of the valid pixels, at half the size."""
    canvas = draw(RegistrationImage(body_phantom(128)), 128.0, 128)
    canvas.valid[:, 64:66] = 0.0
    canvas.pixels[:, 64:66] = 1e6
    halved = canvas.halved()
    assert halved.pixels.shape == (64, 64)
    assert halved.valid[:, 32].sum() == 0
    assert torch.allclose(halved.pixels[0, 0], canvas.pixels[:2, :2].mean())
    assert halved.pixels[:, :32].max() < 2.0


def test_target_centre_is_the_mean_of_the_centroids() -> None:
    """Targets' centroids come in working space, and a target smaller than a canvas pixel keeps its place."""
    targets = np.zeros((2, 200, 200), bool)
    targets[0, 20:41, 20:41] = True
    targets[1, 150, 170] = True
    image = RegistrationImage(ramp(200, 200), targets=(targets[0], targets[1]))
    centre = draw(image, 200.0, 64).target_centre
    expected = (2 * (np.array([(30 + 170) / 2, (30 + 150) / 2]) + 0.5) / 200) - 1
    assert np.allclose(centre.numpy(), expected, atol=0.02)


@given(sides, sides, sides, spacings, spacings)
@settings(deadline=None, max_examples=30)
def test_identity_joins_the_centres_at_true_scale(
    height: int, width: int, other: int, spacing: tuple[float, float], other_spacing: tuple[float, float]
) -> None:
    """The identity alignment takes the fixed centre to the moving centre, millimetre for millimetre."""
    fixed, moving = RegistrationImage(ramp(height, width), spacing), RegistrationImage(ramp(other, 9), other_spacing)
    matrix = Workspace(fixed, moving, 32, 32).fixed_to_moving_px(Alignment.identity())
    assert np.allclose(matrix @ [(width - 1) / 2, (height - 1) / 2, 1.0], [4.0, (other - 1) / 2, 1.0])
    assert np.allclose(np.diag(matrix)[:2], np.array(spacing) / other_spacing)


def test_workspace_holds_every_size() -> None:
    """Canvases exist from the finest size down to the coarsest, each half of the one before."""
    image = RegistrationImage(body_phantom(64))
    workspace = Workspace(image, image, 128, 32)
    pairs: list[CanvasPair] = [workspace.at(size) for size in (128, 64, 32)]
    assert [pair.size for pair in pairs] == [128, 64, 32]
    assert not pairs[0].has_targets


GOOD = RegistrationImage(body_phantom(16))


@pytest.mark.parametrize(
    ("image", "error", "field"),
    [
        (replace(GOOD, pixels=np.zeros((16, 16, 3))), InvalidField, "fixed.pixels"),
        (replace(GOOD, pixels=np.zeros((7, 16))), InvalidField, "fixed.pixels"),
        (replace(GOOD, pixels=np.full((16, 16), 3)), NoContent, "fixed.pixels"),
        (replace(GOOD, pixels=np.full((16, 16), np.nan)), NoContent, "fixed.pixels"),
        (replace(GOOD, valid=np.zeros((16, 16), bool)), NoContent, "fixed.pixels"),
        (replace(GOOD, valid=np.ones((16, 15), bool)), InvalidField, "fixed.valid"),
        (replace(GOOD, spacing_mm=(1.0, 0.0)), InvalidField, "fixed.spacing_mm"),
        (replace(GOOD, spacing_mm=(np.nan, 1.0)), InvalidField, "fixed.spacing_mm"),
        (replace(GOOD, targets=(np.ones((3, 3), bool),)), InvalidField, "fixed.targets[0]"),
        (replace(GOOD, targets=(np.zeros((16, 16), bool),)), NoContent, "fixed.targets[0]"),
    ],
)
def test_what_cannot_be_registered_is_named(image: RegistrationImage, error: type[HilumError], field: str) -> None:
    """Impossible shapes and spacings, constant pixels and empty targets are refused by their path."""
    with pytest.raises(error) as refused:
        image.check("fixed")
    assert refused.value.field == field


def test_a_very_fine_image_lies_in_its_place() -> None:
    """An image of more than 32 pixels per canvas pixel, averaged before it is smoothed, is drawn without a shift."""
    canvas = draw(RegistrationImage(ramp(3000, 2000)), 3000, 64).pixels.numpy()
    low, high = np.percentile(ramp(3000, 2000), (1, 99))
    step = 3000 / 64
    column = (np.arange(64) + 0.5) * step - 0.5 - (3000 - 2000) / 2
    row = (np.arange(64) + 0.5) * step - 0.5
    expected = (column[None] + 2 * row[:, None] - low) / (high - low)
    inner = (slice(3, -3), (column > 3 * step) & (column < 2000 - 3 * step))
    assert np.abs(canvas[inner] - expected[inner]).max() < 0.002


@pytest.mark.parametrize(
    ("fixed", "moving"), [((1e-3, 1.0), None), ((0.01, 0.01), (1.0, 1.0)), ((5.0, 5.0), (0.1, 0.1))]
)
def test_absurd_spacings_are_refused(fixed: tuple[float, float], moving: tuple[float, float] | None) -> None:
    """Pixels 1000 times as long as wide, and images 50 times as large as one another, are a mistake in the spacing."""

    def check() -> None:
        images = [RegistrationImage(ramp(50, 50), spacing) for spacing in (fixed, moving)]
        for image in images:
            image.check("fixed")
        canvas_extents(images[0], images[1])

    with pytest.raises(InvalidField, match="spacing"):
        check()
