"""Fusion of two registered images with a Laplacian pyramid.

Both images are taken apart into detail bands and a base. Where details match, their mean is kept; where they do not,
the one with clearly more local energy. Burt and Adelson, "The Laplacian pyramid as a compact image code", IEEE Trans.
Communications 31, 1983; Burt and Kolczynski, "Enhanced image capture through fusion", ICCV 1993.

The rule is written in the two images' mean and half difference: a pyramid is linear, so the mean image stays as it is,
and only the share of the half difference that each place of each band deserves is added to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.fusion_style import BaseRule, PyramidFusion
from services.fusion.emphasis import Emphasis
from services.fusion.gradients import forward_gradient, from_gradient

Band = NDArray[np.float32]

# Side of the wide mean that a base stands out from, in its own pixels.
_WIDE_PX = 9
# Shares change no faster than over this: what changes faster than the details distorts them.
_EVEN_PX = 7
# Rows of a detail band that are worked on at once.
_STRIP_ROWS = 64
_TINY = 1e-12


def depth(shape: tuple[int, ...], levels: int) -> int:
    """How often an image of (height, width) is halved: at most `levels` times, and never below one row or column."""
    return min(levels, (min(shape) - 1).bit_length())


def bands(image: Band, count: int) -> Iterator[Band]:
    """Take a float32 image (height, width) of any size apart.

    Yields:
        `count` detail bands, float32, from fine to coarse, each half the size of the one before, rounded up; then the
        base, half the size of the last. They are made one by one, so that a caller may let go of each.
    """
    for _ in range(count):
        smaller = np.asarray(cv2.pyrDown(image), np.float32)
        detail = _expand(smaller, image.shape)
        np.subtract(image, detail, out=detail)
        yield detail
        image = smaller
    yield image


def reconstruct(bands_and_base: Sequence[Band]) -> Band:
    """Put bands together again: exactly the image that was taken apart, up to float32 rounding."""
    *details, image = bands_and_base
    for detail in reversed(details):
        image = _expand(image, detail.shape)
        image += detail
    return image


def _expand(image: Band, shape: tuple[int, ...]) -> Band:
    height, width = shape
    return np.asarray(cv2.pyrUp(image, dstsize=(width, height)), np.float32)


def fuse_images(fixed: Band, moving: Band, rule: PyramidFusion | None = None, emphasis: Emphasis | None = None) -> Band:
    """Fuse two images on one grid.

    Args:
        fixed: float32 (height, width), grey levels in [0, 1], 0 black.
        moving: the same, resampled onto the fixed grid; where it has no pixels, the fixed image's.
        rule: how; the default rule when absent.
        emphasis: a place at which one of the two is preferred.

    Returns:
        float32 (height, width), in [0, 1]. Two equal images give that image.

    Raises:
        ValueError: shapes differ, or grey levels leave [0, 1].
    """
    rule = rule or PyramidFusion()
    for image in (fixed, moving):
        if image.shape != fixed.shape or not (image.min() >= 0.0 and image.max() <= 1.0):
            raise ValueError("both images need one shape and finite grey levels in [0, 1]")
    mean = np.asarray(cv2.addWeighted(fixed, 0.5, moving, 0.5, 0.0), np.float32)
    half = np.asarray(cv2.addWeighted(fixed, 0.5, moving, -0.5, 0.0), np.float32)
    fused = _deserved(mean, half, rule, emphasis)
    fused += mean
    if rule.gradient_fidelity is not None:
        fused = from_gradient(fused, *_gradient(mean, half, rule, emphasis), rule.gradient_fidelity)
    np.clip(fused, 0.0, 1.0, out=fused)
    # What the bands of neighbouring structures spill into the background is not there.
    larger = np.maximum(fixed, moving, out=mean)
    np.copyto(fused, larger, where=larger <= rule.background)
    return fused


def _deserved(mean: Band, half: Band, rule: PyramidFusion, emphasis: Emphasis | None) -> Band:
    """What is added to the mean image: in every band, at every place, the share of the half difference."""
    count = depth(mean.shape, rule.levels)
    deserved: list[Band] = []
    for common, difference in zip(bands(mean, count), bands(half, count), strict=True):
        combine = _detail if len(deserved) < count else _base
        band = combine(common, difference, rule)
        if emphasis is not None:
            band = emphasis.preferred(band, difference)
            emphasis = emphasis.halved()
        deserved.append(band)
    return reconstruct(deserved)


def _detail(common: Band, difference: Band, rule: PyramidFusion) -> Band:
    """What is added to the mean of both details, made strip by strip: a dozen images of a strip fit into a cache."""
    height, halo = len(common), rule.window_px // 2 + _EVEN_PX // 2
    added = np.empty_like(common)
    for first in range(0, height, _STRIP_ROWS):
        last = min(first + _STRIP_ROWS, height)
        top, bottom = max(first - halo, 0), min(last + halo, height)
        strip = _detail_of_strip(common[top:bottom], difference[top:bottom], rule)
        added[first:last] = strip[first - top : last - top]
    return added


def _detail_of_strip(common: Band, difference: Band, rule: PyramidFusion) -> Band:
    """The same of some rows; those within a halo of the strip's ends are not right."""
    stronger, unlike = _ratios(common, difference, rule)
    share = _share(stronger, unlike, rule)
    if rule.energy_ratio == 1:
        share *= difference
        return share
    # In place: at a million pixels, asking for memory costs more than the arithmetic.
    gain = _restoring(share, stronger, unlike)
    share *= gain
    share = _mean(share, _EVEN_PX)
    share *= difference
    gain -= 1.0
    gain = _mean(gain, _EVEN_PX)
    gain *= common
    share += gain
    return share


def _base(mean: Band, half: Band, rule: PyramidFusion) -> Band:
    """What is added to the mean of both bases."""
    if rule.base_rule is BaseRule.AVERAGE:
        return np.zeros_like(half)
    if rule.base_rule is BaseRule.MAXIMUM:
        return np.abs(half)
    common, difference = mean - _mean(mean, _WIDE_PX), half - _mean(half, _WIDE_PX)
    return _energy_share([common], [difference], rule) * difference


def _ratios(common: Band, difference: Band, rule: PyramidFusion) -> tuple[Band, Band]:
    """Burt and Kolczynski's dominance and match measure, from the details' mean m and half difference d.

    With local energies E of the two images' details, and floor^2 added to that of their mean:

    Returns:
        Dominance, (E(fixed) - E(moving)) / (E(fixed) + E(moving)) = 2 * E(m, d) / (E(m) + E(d)); and how unlike the
        details are, (1 - match) / 2 = E(d) / (E(m) + E(d)), with match = 2 * E(fixed, moving) / (E(fixed) + E(moving)).
    """
    unlike, total = (_energy([band], [band], rule) for band in (difference, common))
    total += unlike
    total += rule.noise_floor**2 + _TINY
    unlike /= total
    stronger = _energy([common], [difference], rule)
    stronger /= total
    stronger *= 2.0
    return stronger, unlike


def _share(stronger: Band, unlike: Band, rule: PyramidFusion) -> Band:
    """The share, in [-1, 1], of the half difference that belongs to the fused band, from `_ratios`.

    1 takes the fixed image alone, -1 the moving one, 0 the mean.
    """
    unmatched = unlike * np.float32(2.0 / (1.0 - rule.match_threshold))
    np.minimum(unmatched, 1.0, out=unmatched)
    ratio = rule.energy_ratio
    if ratio == 1:
        unmatched *= np.sign(stronger)
        return unmatched
    share = stronger * np.float32((ratio + 1.0) / (ratio - 1.0))
    np.clip(share, -1.0, 1.0, out=share)
    # Cubed: both images show a detail that matches well, so that it is mixed almost evenly.
    for _ in range(3):
        share *= unmatched
    return share


def _restoring(share: Band, stronger: Band, unlike: Band) -> Band:
    """The gain that gives a mixture of unrelated details the mean of both energies, 1 to the root of 2.

    Mixed by a share s, details have the energy E(m) + s^2 * E(d) + 2 * s * E(m, d); both have E(m) + E(d) on average.
    Ma et al., "Robust multi-exposure image fusion: a structural patch decomposition approach", IEEE Trans. Image
    Processing 26, 2017, likewise mix the directions of patches and set their strength apart.
    """
    lost = share * unlike
    lost += stronger
    lost *= share
    np.subtract(unlike, lost, out=lost)
    np.clip(lost, 0.0, 0.5, out=lost)
    np.subtract(1.0, lost, out=lost)
    np.sqrt(lost, out=lost)
    return np.asarray(np.reciprocal(lost, out=lost), np.float32)


def _energy_share(common: Sequence[Band], difference: Sequence[Band], rule: PyramidFusion) -> Band:
    """The share that makes the mean of both bands, or vector fields, weighted by their local energies."""
    total = _energy(common, common, rule) + _energy(difference, difference, rule)
    return 2.0 * _energy(common, difference, rule) / (total + np.float32(rule.noise_floor**2 + _TINY))


def _gradient(mean: Band, half: Band, rule: PyramidFusion, emphasis: Emphasis | None) -> tuple[Band, Band]:
    """Both images' gradients, weighted by their local energies, along x and along y."""
    common, difference = forward_gradient(mean), forward_gradient(half)
    share = _energy_share(common, difference, rule)
    if emphasis is not None:
        share = emphasis.preferred(share, 1.0)
    return common[0] + share * difference[0], common[1] + share * difference[1]


def _energy(first: Sequence[Band], second: Sequence[Band], rule: PyramidFusion) -> Band:
    """Local mean of the product of two bands, or of two vector fields, under binomial weights."""
    side = rule.window_px
    weights = np.array([math.comb(side - 1, place) for place in range(side)]) / 2.0 ** (side - 1)
    product = np.asarray(cv2.multiply(first[0], second[0]), np.float32)
    for a, b in zip(first[1:], second[1:], strict=True):
        product += a * b
    if side == 1:
        return product
    return np.asarray(
        cv2.sepFilter2D(product, cv2.CV_32F, weights, weights, borderType=cv2.BORDER_REFLECT_101), np.float32
    )


def _mean(band: Band, side: int) -> Band:
    return np.asarray(cv2.blur(band, (side, side), borderType=cv2.BORDER_REFLECT_101), np.float32)
