"""modeling.datasets.square_pixels: resampling to square pixels."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling.datasets.square_pixels import resized_labels, resized_picture, square_size

spacings = st.floats(0.1, 10)
sides = st.integers(1, 40)


@settings(deadline=None)
@given(sides, sides, spacings, spacings)
def test_the_extent_stays(height: int, width: int, x: float, y: float) -> None:
    """Pixels become as small as the finer side, none is lost, and the extent stays to half a pixel."""
    finer = min(x, y)
    new_height, new_width = square_size((height, width), (x, y))
    assert new_height >= height
    assert new_width >= width
    assert abs(new_height * finer - height * y) <= finer / 2 + 1e-3 * height * y
    assert abs(new_width * finer - width * x) <= finer / 2 + 1e-3 * width * x


@settings(deadline=None)
@given(sides, sides, st.integers(1, 4), st.integers(1, 4))
def test_labels_are_repeated(height: int, width: int, down: int, across: int) -> None:
    """Whole factors repeat each label value; no value comes into being."""
    values = np.arange(height * width).reshape(height, width)
    expected = np.repeat(np.repeat(values, down, axis=0), across, axis=1)
    assert np.array_equal(resized_labels(values, expected.shape), expected)


def test_pictures_and_labels_stay_together() -> None:
    """A bright square in a stretched picture is where the labels' square is, to the width of one new pixel."""
    labels = np.zeros((20, 60), np.uint8)
    labels[5:12, 20:40] = 1
    picture, stretched = resized_picture(labels * 200, (60, 60)), resized_labels(labels, (60, 60))
    differing = (picture > 100) != (stretched > 0)
    assert not differing.any(axis=1)[16:35].any()
    assert np.count_nonzero(differing.any(axis=1)) <= 2
