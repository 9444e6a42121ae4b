"""Tests of keeping a target visible."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hilum.fusion_style import PyramidFusion
from services.fusion.contrast import contrast_to_noise
from services.fusion.emphasis import Emphasis
from services.fusion.pyramid import fuse_images

Picture = NDArray[np.float32]
SIZE = 128


def hidden_stone() -> tuple[Picture, Picture, NDArray[np.bool_]]:
    """A stone that one modality shows faintly, where the other shows strong ribs across it."""
    y, x = np.mgrid[:SIZE, :SIZE]
    target = np.hypot(y - 64, x - 60) <= 6
    random = np.random.default_rng(0)
    with_stone = 0.4 + 0.15 * target + 0.02 * random.standard_normal((SIZE, SIZE))
    with_ribs = 0.5 + 0.35 * np.sin(y / 4) + 0.02 * random.standard_normal((SIZE, SIZE))
    return with_stone.astype(np.float32), np.clip(with_ribs, 0, 1).astype(np.float32), target


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("fidelity", [None, 1.0])
def test_the_target_stays_as_visible_as_in_the_better_image(swapped: bool, fidelity: float | None) -> None:
    """With emphasis the target has at least .9 of the better image's contrast to noise; without, it is lost here."""
    with_stone, with_ribs, target = hidden_stone()
    fixed, moving = (with_ribs, with_stone) if swapped else (with_stone, with_ribs)
    emphasis = Emphasis.on_target(target, fixed, moving)
    assert emphasis.prefers_fixed is not swapped
    rule = PyramidFusion(gradient_fidelity=fidelity)
    plain, kept = fuse_images(fixed, moving, rule), fuse_images(fixed, moving, rule, emphasis)
    best = contrast_to_noise(with_stone, target)
    assert contrast_to_noise(plain, target) < 0.3 * best
    assert contrast_to_noise(kept, target) >= 0.9 * best


def test_far_from_the_target_nothing_changes_and_no_seam_shows() -> None:
    """Emphasis ends softly: far away the picture is the same, and no step is larger than in the images themselves."""
    with_stone, with_ribs, target = hidden_stone()
    kept = fuse_images(with_stone, with_ribs, emphasis=Emphasis.on_target(target, with_stone, with_ribs))
    plain = fuse_images(with_stone, with_ribs)
    assert np.allclose(kept[:, 118:], plain[:, 118:], atol=0.02)
    steps = [np.abs(np.diff(image, axis=1)).max() for image in (kept, with_stone, with_ribs)]
    assert steps[0] <= max(steps[1:]) + 0.01
