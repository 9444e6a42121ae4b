"""Tests of the ascent that asks how good a fused picture can be."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.fusion_ascent import Bars, information_fidelity, most_similar, preservation, similarity
from benchmarks.fusion_measures import (
    gradient_preservation,
    structural_similarity,
    visual_information_fidelity,
)
from benchmarks.fusion_pairs import Pair

Grey = NDArray[np.uint8]


def structures(seed: int, side: int = 64) -> Grey:
    noise = np.asarray(cv2.GaussianBlur(np.random.default_rng(seed).random((side, side)), (0, 0), 2.0))
    return np.asarray(np.rint(255 * (noise - noise.min()) / np.ptp(noise)), np.uint8)


def body(side: int = 64) -> NDArray[np.bool_]:
    inside = np.zeros((side, side), np.bool_)
    inside[6:-8, 10:-4] = True
    return inside


def planes(*images: Grey) -> list[torch.Tensor]:
    return [torch.from_numpy(image.astype(np.float64)) for image in images]


def test_what_steers_is_what_is_measured() -> None:
    """SSIM, VIF and Q^AB/F in torch are the benchmark's own, so that the ascent climbs what is reported."""
    fused, first, second = structures(0), structures(1), structures(2)
    mask, inside = body(), torch.from_numpy(body())
    picture, a, b = planes(fused, first, second)
    assert float(similarity(picture, a, inside)) == pytest.approx(structural_similarity(fused, first, mask), abs=1e-6)
    assert float(information_fidelity(a, picture, inside)) == pytest.approx(
        visual_information_fidelity(first, fused, mask), abs=1e-4
    )
    assert float(preservation(picture, [a, b], inside)) == pytest.approx(
        gradient_preservation(fused, first, second, mask), abs=1e-3
    )


def test_the_ascent_climbs_and_keeps_its_bars() -> None:
    """Without bars SSIM rises above the average's; with bars it pays for them with SSIM, and keeps them."""
    first, second, mask = structures(1, 40), structures(2, 40), np.ones((40, 40), np.bool_)
    pair = Pair("x", first, second, mask)
    average = np.rint((first.astype(np.float64) + second) / 2).astype(np.uint8)

    def likeness(picture: Grey) -> float:
        return sum(structural_similarity(picture, source, mask) for source in (first, second))

    kept = gradient_preservation(average, first, second, mask) + 0.05
    free, bound = (most_similar(pair, average, bars, ((1.0, 40), (0.3, 20))) for bars in (None, Bars(kept, 0.0)))
    assert likeness(free) > likeness(average)
    assert gradient_preservation(free, first, second, mask) < kept
    assert gradient_preservation(bound, first, second, mask) > kept
    assert likeness(bound) <= likeness(free)
