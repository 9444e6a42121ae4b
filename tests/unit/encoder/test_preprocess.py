"""From stored pixels to what the image encoder sees."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.errors import InvalidTensor, NoContent
from hilum.serving.bundle import Normalisation
from hilum.types import Identity, Image, PercentileRange, Window
from services.encoder.preprocess import ModelInput, input_size, prepare

SIDE = 64
MIN_MAX = Normalisation("min_max")
MEAN_STD = Normalisation("mean_std", (120.0, 110.0, 100.0), (60.0, 50.0, 40.0))


def prepared(image: Image, normalisation: Normalisation = MIN_MAX, aspect: float = 1.0) -> ModelInput:
    """Prepares an image under its default mapping."""
    return prepare(image, image.default_mapping, pixel_aspect=aspect, side=SIDE, normalisation=normalisation)


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(0.05, 20))
def test_input_size(height: int, width: int, aspect: float) -> None:
    """The longest side fits the canvas, the other follows in square pixels, and none is empty."""
    rows, columns = input_size((height, width), aspect, SIDE)
    assert max(rows, columns) == SIDE
    assert min(rows, columns) >= 1
    if height * aspect >= width:
        assert columns == max(1, int(width / (height * aspect) * SIDE + 0.5))
    else:
        assert rows == max(1, int(height * aspect / width * SIDE + 0.5))


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    st.booleans(),
    st.sampled_from([MIN_MAX, MEAN_STD]),
    st.floats(0.2, 5),
)
def test_the_image_in_its_corner(
    size: tuple[int, int], dtype: str, colour: bool, normalisation: Normalisation, aspect: float
) -> None:
    """Any image lies in the upper left corner; the rest is zero after normalisation; no value is unusable."""
    pixels = np.random.default_rng(size[0]).integers(0, 255, (*size, 3) if colour else size)
    model_input = prepared(Image(pixels.astype(dtype)), normalisation, aspect)
    planes = model_input.normalised()
    assert planes.shape == (1, 3, SIDE, SIDE)
    assert planes.dtype == np.float32
    assert np.isfinite(planes).all()
    height, width = model_input.input_size
    assert not planes[:, :, height:].any()
    assert not planes[:, :, :, width:].any()
    assert not model_input.canvas[height:].any()
    if not colour:
        assert np.array_equal(model_input.canvas[..., 0], model_input.canvas[..., 2])
    if normalisation is MIN_MAX:
        assert planes.min() >= 0
        assert planes.max() <= 1.0001


def test_mean_and_deviation() -> None:
    """With mean_std each channel loses its mean and is divided by its deviation."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[...] = (180, 160, 60)
    planes = prepared(Image(pixels), MEAN_STD).normalised()
    np.testing.assert_allclose(planes[0, :, 5, 5], [1, 1, -1], rtol=1e-6)


def test_min_and_max() -> None:
    """With min_max the darkest pixel that is encoded becomes 0 and the brightest 1."""
    pixels = np.full((SIDE, SIDE), 50, np.uint8)
    pixels[:10], pixels[20:30] = 20, 220
    planes = prepared(Image(pixels)).normalised()
    np.testing.assert_allclose(planes[0, 0, [5, 25, 50], 5], [0, 1, 30 / 200], atol=1e-6)


@pytest.mark.parametrize("normalisation", [MIN_MAX, MEAN_STD])
def test_a_constant_image(normalisation: Normalisation) -> None:
    """An image of one value is encoded as one value, not as noise."""
    planes = prepared(Image(np.full((9, 9), 7, np.int16)), normalisation).normalised()
    assert np.isfinite(planes).all()
    assert len(np.unique(planes[0, 0])) == 1


def test_padding_does_not_widen_the_range() -> None:
    """Padding is black and has no part in percentiles or min-max: only its own pixels lose by it."""
    plain = np.random.default_rng(0).integers(100, 200, (SIDE, SIDE)).astype(np.int16)
    padded = plain.copy()
    padded[:, :16] = -2000
    image = Image(padded, padding_value=-2000)
    model_input = prepare(image, PercentileRange(), pixel_aspect=1.0, side=SIDE, normalisation=MIN_MAX)
    assert not model_input.canvas[:, :15].any()
    planes = model_input.normalised()[0, 0]
    low, high = np.percentile(plain[:, 16:], (0.5, 99.5))
    expected = np.clip((plain[:, 20:] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(planes[:, 20:], expected, atol=0.01)


def test_windows_and_identity() -> None:
    """A window stretches its range over all grey levels; identity takes uint8 as it is, and nothing else."""
    pixels = np.full((SIDE, SIDE), 140, np.int16)
    image = Image(pixels)
    grey = prepare(image, Window(40, 400), pixel_aspect=1.0, side=SIDE, normalisation=MEAN_STD).canvas
    assert (grey == round(255 * (140 + 160) / 400)).all()
    with pytest.raises(InvalidTensor):
        prepare(image, Identity(), pixel_aspect=1.0, side=SIDE, normalisation=MEAN_STD)


def test_nothing_but_padding() -> None:
    """An image that is all padding has nothing to encode."""
    with pytest.raises(NoContent):
        prepared(Image(np.full((5, 5), 3, np.int16), padding_value=3))


def test_flat_pixels_are_made_square() -> None:
    """A circle seen with pixels four times as high as wide is a circle on the canvas."""
    y, x = np.ogrid[:16, :64]
    flat = ((x - 31.5) ** 2 + ((y - 7.5) * 4) ** 2 < 20**2).astype(np.uint8) * 255
    model_input = prepared(Image(flat), aspect=4.0)
    assert model_input.input_size == (SIDE, SIDE)
    disc = model_input.canvas[..., 0] > 127
    height, width = np.ptp(np.flatnonzero(disc.any(axis=1))), np.ptp(np.flatnonzero(disc.any(axis=0)))
    assert abs(int(height) - int(width)) <= 2
