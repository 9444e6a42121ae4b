"""Our one-step upscaling against segment-anything's postprocess_masks."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.decoder.postprocess import MaskUpscaler
from services.encoder.preprocess import input_size
from tests.congruence.oracle import random_sam

SIDE, LOW_RES = 256, 64
# Logits are added up in another order: a pixel may differ where its logit is 0 to seven digits.
LOGIT_TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def sam() -> Any:
    """The model whose postprocess_masks is the oracle."""
    return random_sam()


def blobs(seed: int) -> NDArray[np.float32]:
    """Returns smooth logits of both signs, (64, 64)."""
    coarse = torch.randn(1, 1, 9, 9, generator=torch.Generator().manual_seed(seed)) * 8
    smooth = torch.nn.functional.interpolate(coarse, (LOW_RES, LOW_RES), mode="bicubic")
    return np.asarray(smooth[0, 0].numpy(), np.float32)


def oracle(sam: Any, logits: NDArray[np.float32], image_size: tuple[int, int]) -> NDArray[np.float32]:
    """Returns the logits of the whole image as segment-anything upscales them."""
    canvas = input_size(image_size, 1.0, SIDE)
    upscaled = sam.postprocess_masks(torch.from_numpy(logits)[None, None], canvas, image_size)
    return np.asarray(upscaled[0, 0].numpy(), np.float32)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 700), width=st.integers(1, 700), seed=st.integers(0, 999))
def test_the_same_mask(sam: Any, height: int, width: int, seed: int) -> None:
    """Masks of images of any size are segment-anything's, but where its logit is within 1e-5 of the threshold."""
    size = (height, width)
    logits = blobs(seed)
    expected = oracle(sam, logits, size)
    window = MaskUpscaler(size, input_size(size, 1.0, SIDE), SIDE, LOW_RES)(logits, 0.0)
    differing = window.full(size) != (expected > 0)
    assert np.abs(expected[differing]).max(initial=0) < LOGIT_TOLERANCE
    assert window.area == np.count_nonzero(window.full(size))


def test_the_difference_in_pixels(sam: Any) -> None:
    """Over 50 masks of 512 x 512 pixels, at most one pixel of 13 million differs."""
    size = (512, 512)
    upscale = MaskUpscaler(size, (SIDE, SIDE), SIDE, LOW_RES)
    differing = sum(
        np.count_nonzero(upscale(blobs(seed), 0.0).full(size) != (oracle(sam, blobs(seed), size) > 0))
        for seed in range(50)
    )
    assert differing <= 1


def test_the_same_stability_score(sam: Any) -> None:
    """The stability score is segment-anything's: IoU of the masks at the threshold plus and minus 1."""
    size = (300, 200)
    for seed in range(20):
        logits = blobs(seed)
        expected = oracle(sam, logits, size)
        window = MaskUpscaler(size, input_size(size, 1.0, SIDE), SIDE, LOW_RES)(logits, 0.0)
        score = np.count_nonzero(expected > 1) / np.count_nonzero(expected > -1)
        assert window.stability_score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("threshold", [-2.0, 0.0, 1.5])
def test_other_thresholds(sam: Any, threshold: float) -> None:
    """A bundle's own mask threshold is compared with the same logits."""
    size = (123, 321)
    window = MaskUpscaler(size, input_size(size, 1.0, SIDE), SIDE, LOW_RES)(blobs(3), threshold)
    expected = oracle(sam, blobs(3), size)
    differing = window.full(size) != (expected > threshold)
    assert np.abs(expected[differing] - threshold).max(initial=0) < LOGIT_TOLERANCE
