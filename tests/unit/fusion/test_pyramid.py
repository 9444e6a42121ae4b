"""Tests of the Laplacian pyramid fusion."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.fusion_blobs import new_blobs
from hilum.fusion_style import BaseRule, PyramidFusion
from services.fusion.pyramid import bands, depth, fuse_images, reconstruct
from tests.unit.fusion.phantoms import Picture, body_phantom

sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))
rules = st.builds(
    PyramidFusion,
    levels=st.integers(1, 6),
    base_rule=st.sampled_from(BaseRule),
    window_px=st.sampled_from([1, 3, 5, 15]),
    match_threshold=st.floats(-1, 0.99),
    energy_ratio=st.sampled_from([1.0, 1.1, 2.0, 100.0]),
    noise_floor=st.sampled_from([0.0, 0.05]),
    gradient_fidelity=st.sampled_from([None, 0.1, 1.0]),
)
seeds = st.integers(0, 100)


def noise(size: tuple[int, int], seed: int) -> Picture:
    return np.random.default_rng(seed).random(size, np.float32)


@given(sizes, st.integers(0, 6), seeds)
def test_bands_reconstruct_any_size(size: tuple[int, int], levels: int, seed: int) -> None:
    """Taking an image apart and putting it together loses nothing, whatever its size and the number of levels."""
    image = noise(size, seed)
    assert np.allclose(reconstruct(list(bands(image, depth(size, levels)))), image, atol=2e-6)


@given(sizes, st.integers(0, 6))
def test_every_band_halves_the_size(size: tuple[int, int], levels: int) -> None:
    """Each band has half the size of the one before, rounded up, and none is made of a single row or column."""
    shapes = [band.shape for band in bands(noise(size, 0), depth(size, levels))]
    assert shapes[0] == size
    assert len(shapes) <= levels + 1
    assert all(min(shape) > 1 for shape in shapes[:-1])
    assert len(shapes) == levels + 1 or min(shapes[-1]) == 1
    for larger, smaller in itertools.pairwise(shapes):
        assert smaller == tuple((side + 1) // 2 for side in larger)


@given(seeds, st.sampled_from([1, 3, 5, 15]))
def test_the_result_does_not_show_that_it_is_made_in_strips(seed: int, window_px: int) -> None:
    """Upside down, other rows meet at the strips' ends: the fused image is the same, upside down."""
    # Of 2^n + 1 rows, every band has an odd number: halving keeps the same rows from both ends.
    rule = PyramidFusion(window_px=window_px)
    fixed, moving = noise((257, 33), seed), noise((257, 33), seed + 1)
    turned = fuse_images(np.ascontiguousarray(fixed[::-1]), np.ascontiguousarray(moving[::-1]), rule)
    # OpenCV's pyrUp treats an image's first and last rows unlike.
    inner = slice(24, -24)
    assert np.allclose(turned[::-1][inner], fuse_images(fixed, moving, rule)[inner], atol=1e-4)


@given(sizes, rules, seeds)
def test_equal_images_fuse_to_themselves(size: tuple[int, int], rule: PyramidFusion, seed: int) -> None:
    """Fusing an image with itself gives that image, by every rule."""
    image = noise(size, seed)
    assert np.allclose(fuse_images(image, image, rule), image, atol=1e-5)


@given(sizes, rules, seeds)
def test_fused_image_is_symmetric_and_in_range(size: tuple[int, int], rule: PyramidFusion, seed: int) -> None:
    """The result does not depend on which image is called fixed, stays in [0, 1], and leaves the inputs alone."""
    first, second = noise(size, seed), noise(size, seed + 1)
    copies = first.copy(), second.copy()
    fused = fuse_images(first, second, rule)
    assert fused.dtype == np.float32
    assert fused.min() >= 0.0
    assert fused.max() <= 1.0
    assert np.allclose(fused, fuse_images(second, first, rule), atol=1e-4)
    assert np.array_equal(first, copies[0])
    assert np.array_equal(second, copies[1])


def by_the_book(first: Picture, second: Picture, rule: PyramidFusion) -> NDArray[np.float64]:
    """Burt and Kolczynski's rule in their own terms: salience, match measure, weights of both details."""
    window = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    fused = []
    both = (bands(image, rule.levels) for image in (first, second))
    for a, b in zip(*(map(np.float64, of_image) for of_image in both), strict=True):
        local_sum = [ndimage.correlate(product, window, mode="mirror") for product in (a * a, b * b, a * b)]
        salience_a, salience_b, common = local_sum
        match = 2 * common / (salience_a + salience_b)
        weaker = 0.5 - 0.5 * (1 - match) / (1 - rule.match_threshold)
        weaker = np.where(match <= rule.match_threshold, 0.0, weaker)
        weight_a = np.where(salience_a > salience_b, 1 - weaker, weaker)
        fused.append((weight_a * a + (1 - weight_a) * b).astype(np.float32))
        base = (a + b) / 2
    fused[-1] = base.astype(np.float32)
    return np.clip(reconstruct(fused).astype(np.float64), 0, 1)


@given(st.floats(0.0, 0.9), seeds)
def test_the_rule_is_burt_and_kolczynski_s(threshold: float, seed: int) -> None:
    """Written in mean and half difference, the rule gives what the paper's salience, match and weights give."""
    rule = PyramidFusion(
        base_rule=BaseRule.AVERAGE, window_px=3, match_threshold=threshold, energy_ratio=1.0, noise_floor=0.0
    )
    first, second = (ndimage.gaussian_filter(noise((40, 33), seed + k), 1).astype(np.float32) for k in (0, 1))
    assert np.allclose(fuse_images(first, second, rule), by_the_book(first, second, rule), atol=1e-4)


@pytest.mark.parametrize("fidelity", [None, 1.0])
def test_background_of_both_stays_black(fidelity: float | None) -> None:
    """Where both images are background nothing is drawn, though neighbouring edges reach there in the bands."""
    first = body_phantom(128)
    first[first < 0.02] = 0.0
    second = np.where(first > 0.5, 1.0, 0.0).astype(np.float32)
    background = (first == 0.0) & (second == 0.0)
    fused = fuse_images(first, second, PyramidFusion(gradient_fidelity=fidelity))
    assert background.sum() > 1000
    assert (fused[background] == 0.0).all()
    assert fused[~background].max() > 0.8
    noisy = np.maximum(first, np.float32(0.03)), np.maximum(second, np.float32(0.02))
    guarded = fuse_images(*noisy, PyramidFusion(background=0.03, gradient_fidelity=fidelity))
    assert np.allclose(guarded[background], 0.03)


@pytest.mark.parametrize("base_rule", BaseRule)
def test_detail_of_either_image_survives(base_rule: BaseRule) -> None:
    """Fine structure that only one image shows is as strong in the result."""
    stripes = 0.5 + 0.2 * np.sin(np.arange(128, dtype=np.float32) * 2.0)
    first = np.full((128, 128), 0.5, np.float32)
    second = first.copy()
    first[:, :64] = stripes[None, :64]
    second[:, 64:] = stripes[None, 64:]
    fused = fuse_images(first, second, PyramidFusion(base_rule=base_rule))
    for half in (slice(8, 56), slice(72, 120)):
        assert fused[:, half].std() == pytest.approx(float(stripes[half].std()), rel=0.1)


def test_opposite_details_do_not_cancel() -> None:
    """Where one image is dark and the other bright, the stronger one is shown instead of their mean, which is flat."""
    stripes = np.sin(np.arange(128, dtype=np.float32) * 2.0)[None] * np.ones((64, 1), np.float32)
    first, second = 0.5 + 0.2 * stripes, 0.5 - 0.13 * stripes
    assert np.std((first + second) / 2) < 0.03
    assert np.allclose(fuse_images(first, second)[:, 16:-16], first[:, 16:-16], atol=0.03)


def test_noise_is_averaged_and_not_chosen() -> None:
    """Below the noise floor unrelated details are averaged, so that noise falls; without a floor the stronger stays."""
    random = np.random.default_rng(0)
    first, second = (np.clip(0.5 + 0.01 * random.standard_normal((128, 128)), 0, 1).astype(np.float32) for _ in "ab")
    averaged = fuse_images(first, second).std()
    assert averaged == pytest.approx(0.01 / np.sqrt(2), rel=0.05)
    chosen = fuse_images(first, second, PyramidFusion(noise_floor=0.0, energy_ratio=1.0)).std()
    assert chosen > 1.2 * averaged


def test_mixed_details_keep_their_energy() -> None:
    """Of unrelated textures, each .71 as strong in their mean, most of the strength is kept when they are mixed."""
    random = np.random.default_rng(0)
    textures = (cv2.GaussianBlur(random.standard_normal((128, 128)).astype(np.float32), (0, 0), 0.7) for _ in "ab")
    first, second = (np.clip(0.5 + 0.12 * texture / texture.std(), 0, 1).astype(np.float32) for texture in textures)
    assert ((first + second) / 2).std() < 0.75 * first.std()
    mixed = fuse_images(first, second, PyramidFusion(energy_ratio=100.0))
    assert 0.82 * first.std() < mixed.std() < first.std()


def test_base_rules_differ_as_named() -> None:
    """Of two flat images MAXIMUM shows the brighter one, AVERAGE and LOCAL_ENERGY the mean."""
    dark, bright = np.full((32, 40), 0.2, np.float32), np.full((32, 40), 0.8, np.float32)
    for rule, level in ((BaseRule.MAXIMUM, 0.8), (BaseRule.AVERAGE, 0.5), (BaseRule.LOCAL_ENERGY, 0.5)):
        assert np.allclose(fuse_images(dark, bright, PyramidFusion(base_rule=rule)), level, atol=1e-6)


def test_local_energy_keeps_wide_contrast_that_one_image_shows() -> None:
    """Of an organ too wide for the detail bands AVERAGE keeps half the contrast, LOCAL_ENERGY clearly more."""
    organ = np.asarray(cv2.GaussianBlur(np.pad(np.full((40, 40), 0.6, np.float32), 96), (0, 0), 8.0), np.float32)
    dark, bright = np.full_like(organ, 0.3), 0.3 + organ
    average, local_energy = (
        float(np.ptp(fuse_images(bright, dark, PyramidFusion(base_rule=rule)))) / float(np.ptp(organ))
        for rule in (BaseRule.AVERAGE, BaseRule.LOCAL_ENERGY)
    )
    assert average == pytest.approx(0.5, abs=0.1)
    assert local_energy > 0.7


def organs(seed: int) -> tuple[Picture, Picture]:
    """Two modalities of one body with 14 organs: outlines are shared, brightness is drawn for each apart."""
    random = np.random.default_rng(seed)
    pair = np.zeros((2, 192, 192), np.float32)
    outlines = [((96, 96), (84, 70), 0.0)]
    for _ in range(14):
        (x, y), radii = random.integers(40, 152, 2).tolist(), random.integers(3, 26, 2).tolist()
        outlines.append(((x, y), tuple(radii), float(random.uniform(0, 180))))
    for centre, axes, angle in outlines:
        for image in pair:
            cv2.ellipse(image, centre, axes, angle, 0, 360, float(random.uniform(0, 1)), -1, cv2.LINE_AA)
    first, second = (
        np.clip(cv2.GaussianBlur(image, (0, 0), 1.0) + 0.01 * random.standard_normal(image.shape), 0, 1)
        for image in pair
    )
    return first.astype(np.float32), second.astype(np.float32)


def blobs(first: Picture, second: Picture, rule: PyramidFusion) -> int:
    fused, *sources = (
        np.rint(image * 255).astype(np.uint8) for image in (fuse_images(first, second, rule), first, second)
    )
    return new_blobs(fused, *sources)


@pytest.mark.parametrize("fidelity", [None, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_no_blob_that_neither_image_has(seed: int, fidelity: float | None) -> None:
    """Where one modality shows the other's contrast fainter, inverted or not, no bright blob of 3 px appears."""
    first = body_phantom(256)
    noise_level = 0.01 * np.random.default_rng(seed).standard_normal(first.shape)
    for second in (0.2 + 0.5 * first, 0.6 - 0.4 * first):
        pictured = np.clip(np.where(first > 0.01, second, 0) + noise_level, 0, 1).astype(np.float32)
        assert blobs(first, pictured, PyramidFusion(gradient_fidelity=fidelity)) == 0


def test_unrelated_contrasts_make_few_blobs() -> None:
    """Where the brightness of organs is unrelated, there are at most a third of the blobs of the founding rule."""
    founding = PyramidFusion(
        base_rule=BaseRule.AVERAGE, window_px=3, match_threshold=0.7, energy_ratio=1.0, noise_floor=0.0
    )
    of_default, of_founding = (
        sum(blobs(*organs(seed), rule) for seed in range(12)) for rule in (PyramidFusion(), founding)
    )
    assert of_founding > 20
    assert of_default <= of_founding / 3


def test_gradients_are_kept_where_the_pyramid_mixes() -> None:
    """Rebuilding from gradients makes edges that one image shows stronger, at the same mean brightness."""
    first = body_phantom(128)
    second = np.full_like(first, 0.3)
    second[first < 0.01] = 0
    plain, rebuilt = (fuse_images(first, second, PyramidFusion(gradient_fidelity=g)) for g in (None, 0.1))
    edge = np.hypot(*np.gradient(first)) > 0.05
    strength = [np.hypot(*np.gradient(image))[edge].mean() for image in (plain, rebuilt)]
    assert strength[1] > 1.02 * strength[0]
    assert rebuilt.mean() == pytest.approx(float(plain.mean()), abs=0.01)


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
def test_values_out_of_range_are_refused(value: float) -> None:
    """Grey levels outside [0, 1] are refused instead of being clipped in silence."""
    image = np.full((8, 8), 0.5, np.float32)
    wrong = image.copy()
    wrong[3, 3] = value
    with pytest.raises(ValueError, match="grey levels"):
        fuse_images(image, wrong)


def test_images_of_two_sizes_are_refused() -> None:
    """Both images must lie on one grid."""
    with pytest.raises(ValueError, match="one shape"):
        fuse_images(noise((8, 8), 0), noise((8, 9), 0))
