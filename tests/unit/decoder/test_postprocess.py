"""From low-resolution logits to masks: windows, areas and scores. Congruence with SAM is tested elsewhere."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.decoder.postprocess import MaskUpscaler, MaskWindow

SIDE, LOW_RES = 64, 16


def square(row: int, column: int, size: int = 4) -> NDArray[np.float32]:
    """Returns logits of 8 in a square, -8 elsewhere."""
    logits = np.full((LOW_RES, LOW_RES), -8, np.float32)
    logits[row : row + size, column : column + size] = 8
    return logits


def upscaler(image_size: tuple[int, int], input_size: tuple[int, int] = (SIDE, SIDE)) -> MaskUpscaler:
    """Returns an upscaler of the test's model."""
    return MaskUpscaler(image_size, input_size, SIDE, LOW_RES)


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 999))
def test_the_window_is_the_whole_mask(height: int, width: int, seed: int) -> None:
    """Outside the window there is no foreground; area, bounds and the full mask agree."""
    logits = np.random.default_rng(seed).normal(-1, 3, (LOW_RES, LOW_RES)).astype(np.float32)
    window = upscaler((height, width))(logits, 0.0)
    full = window.full((height, width))
    everything = upscaler((height, width))(logits + np.float32(100), 100.0).full((height, width))
    # Around 100 float32 knows a few millionths: of 160,000 pixels hardly ever two lie that near to the threshold.
    assert np.count_nonzero(full != everything) <= 4
    assert window.area == np.count_nonzero(full)
    bounds = window.bounds()
    assert (bounds is None) == (window.area == 0)
    if bounds is not None:
        rows, columns = np.flatnonzero(full.any(axis=1)), np.flatnonzero(full.any(axis=0))
        assert bounds == (rows[0], columns[0], rows[-1], columns[-1])
    assert 0 <= window.stability_score <= 1


def test_a_small_mask_in_a_large_image_is_a_small_window() -> None:
    """Of an image of 100 million pixels only the neighbourhood of the mask is computed."""
    window = upscaler((10_000, 10_000))(square(8, 2, size=1), 0.0)
    assert window.mask.size < 4e6
    assert 0.4 < window.area / (10_000 / LOW_RES) ** 2 < 1


def test_no_logit_above() -> None:
    """Logits below the threshold everywhere give an empty mask that is as stable as can be."""
    window = upscaler((50, 60))(np.full((LOW_RES, LOW_RES), -5, np.float32), 0.0)
    assert (window.area, window.any_logit_above, window.stability_score) == (0, False, 1.0)
    assert window.bounds() is None
    assert not window.full((50, 60)).any()


def test_logits_above_in_the_padding_only() -> None:
    """Logits that reach the threshold only in the canvas's padding give an empty mask, and say that there were some."""
    window = upscaler((32, 64), (32, 64))(square(12, 3), 0.0)
    assert (window.area, window.any_logit_above) == (0, True)


def test_uncertain_masks_are_less_stable() -> None:
    """The steeper the logits at the border, the nearer the stability score is to 1."""
    steep, flat = (upscaler((64, 64))(square(4, 4) * np.float32(scale), 0.0).stability_score for scale in (10, 0.3))
    assert 0.9 < steep <= 1
    assert flat < 0.8


def test_blocks_do_not_show() -> None:
    """A mask that is computed in several blocks of rows is the one that is computed in a single one."""
    logits = np.random.default_rng(0).normal(0, 3, (LOW_RES, LOW_RES)).astype(np.float32)
    tall = upscaler((3000, 1000), (SIDE, 21))(logits, 0.0)
    assert tall.mask.size > 2**20
    wide = upscaler((1000, 3000), (21, SIDE))(np.ascontiguousarray(logits.T), 0.0)
    assert np.count_nonzero(tall.full((3000, 1000)) != wide.full((1000, 3000)).T) <= 3


def test_windows_move() -> None:
    """A window of a crop, moved by the crop's offset, is the mask in the full image."""
    window = MaskWindow(np.ones((2, 3), np.bool_), 4, 5, 6, 1.0, True).moved(10, 20)
    assert window.bounds() == (24, 15, 25, 17)
    full = window.full((40, 30))
    assert full.sum() == 6
    assert full[24:26, 15:18].all()
