"""The measures of fused images, held against independent implementations: scipy, numpy, and the papers, pixel by pixel.

`REFERENCE` holds what public packages gave for two images that `structures` makes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal, stats

from benchmarks.fusion_measures import (
    FusionMeasures,
    correlations_of_differences,
    entropy,
    gradient_preservation,
    mutual_information,
    spatial_frequency,
    structural_similarity,
    visual_information_fidelity,
)

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]
SIZE, LARGE = (37, 45), (90, 97)
ALL = np.ones(SIZE, bool)


def structures(phase: int, size: tuple[int, int] = SIZE) -> Grey:
    """A picture out of formulae, the same on every machine: waves, steps and a sawtooth."""
    y, x = np.indices(size)
    waves = 60 * np.sin((x + phase) / 5) * np.cos((y - 2 * phase) / 7)
    steps = 50 * ((x // 8 + y // 6 + phase) % 3)
    sawtooth = (7 * x + 13 * y + 5 * phase) % 23
    return np.asarray(np.clip(np.rint(60 + waves + steps + sawtooth), 0, 255), np.uint8)


A, B = structures(0), structures(4)
F = np.rint(0.6 * A + 0.4 * B).astype(np.uint8)
BODY = np.hypot(*(np.indices(SIZE) - np.array([18, 22])[:, None, None])) < 17


@pytest.mark.parametrize("body", [ALL, BODY])
def test_entropy_deviation_and_frequency(body: Mask) -> None:
    """EN is scipy's entropy of the histogram in bits, SD numpy's, SF the root of two mean squared differences."""
    counts = np.unique(F[body], return_counts=True)[1]
    assert entropy(F, body) == pytest.approx(stats.entropy(counts, base=2))
    along = [
        [
            (float(F[y, x]) - float(F[y - dy, x - dx])) ** 2
            for y, x in np.argwhere(body)
            if y >= dy and x >= dx and body[y - dy, x - dx]
        ]
        for dy, dx in ((0, 1), (1, 0))
    ]
    assert spatial_frequency(F, body) == pytest.approx(math.sqrt(np.mean(along[0]) + np.mean(along[1])))
    measured = FusionMeasures.of(F, A, B, body)
    assert measured.sd == pytest.approx(np.std(F[body].astype(float)))


@pytest.mark.parametrize("body", [ALL, BODY])
def test_mutual_information(body: Mask) -> None:
    """MI is H(A) + H(F) - H(A, F) in nats, from scipy's entropies."""
    of_pairs = np.unique(np.stack([A[body], F[body]]), axis=1, return_counts=True)[1]
    single = [stats.entropy(np.unique(image[body], return_counts=True)[1]) for image in (A, F)]
    assert mutual_information(F, A, body) == pytest.approx(sum(single) - stats.entropy(of_pairs))
    assert mutual_information(A, A, body) == pytest.approx(single[0])


@pytest.mark.parametrize("body", [ALL, BODY])
def test_correlations_of_differences(body: Mask) -> None:
    """SCD is numpy's correlation of each source with the fused image less the other source, added."""
    f, a, b = (image[body].astype(float) for image in (F, A, B))
    expected = np.corrcoef(a, f - b)[0, 1] + np.corrcoef(b, f - a)[0, 1]
    assert correlations_of_differences(F, A, B, body) == pytest.approx(expected)
    assert correlations_of_differences(A, A, A, body) == 0


def ssim_by_windows(image: Grey, reference: Grey, body: Mask) -> float:
    """Wang et al. 2004, equation 13, window by window: 7 x 7 px, unbiased moments."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for y, x in np.argwhere(body):
        if not (3 <= y < body.shape[0] - 3 and 3 <= x < body.shape[1] - 3):
            continue
        window = np.s_[y - 3 : y + 4, x - 3 : x + 4]
        p, q = image[window].astype(float).ravel(), reference[window].astype(float).ravel()
        covariance = np.cov(p, q)
        likeness = (2 * p.mean() * q.mean() + c1) * (2 * covariance[0, 1] + c2)
        likeness /= (p.mean() ** 2 + q.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)
        values.append(likeness)
    return float(np.mean(values))


@pytest.mark.parametrize("body", [ALL, BODY])
def test_structural_similarity(body: Mask) -> None:
    """SSIM is the mean over windows in the body of Wang's formula, and 1 for an image and itself."""
    assert structural_similarity(F, A, body) == pytest.approx(ssim_by_windows(F, A, body))
    assert structural_similarity(A, A, body) == pytest.approx(1)


def vif_by_convolution(reference: Grey, image: Grey, body: Mask) -> float:
    """Sheikh and Bovik's VIF in the pixel domain with scipy's 2-D convolutions, window middles inside the body."""
    a, b, inside = reference.astype(float), image.astype(float), body
    kept = available = 0.0
    for side in (17, 9, 5, 3):
        place = np.arange(side) - side // 2
        kernel = np.exp(-(place[:, None] ** 2 + place[None] ** 2) / (2 * (side / 5) ** 2))
        kernel /= kernel.sum()

        def mean(plane: NDArray[np.float64], kernel: NDArray[np.float64] = kernel) -> NDArray[np.float64]:
            return np.asarray(signal.convolve2d(plane, kernel, mode="valid"))

        margin = np.s_[side // 2 : -(side // 2), side // 2 : -(side // 2)]
        if side < 17:
            a, b, inside = mean(a)[::2, ::2], mean(b)[::2, ::2], inside[margin][::2, ::2]
        if min(a.shape) < side:
            break
        var_a, var_b = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2
        cov = mean(a * b) - mean(a) * mean(b)
        for s, t, c, counted in zip(*(z.ravel() for z in (var_a, var_b, cov, inside[margin])), strict=True):
            if counted:
                gain = c / (s + 1e-10)
                noise = t - gain * c
                if gain < 0:
                    gain, noise = 0.0, t
                kept += math.log10(1 + gain**2 * s / (max(noise, 1e-10) + 2))
                available += math.log10(1 + s / 2)
    return kept / available


@pytest.mark.parametrize("body", ["all", "disc"])
def test_visual_information_fidelity(body: str) -> None:
    """VIF is that of plain convolutions over four scales, above 1 for added contrast, and 1 for the image itself."""
    a, f = structures(0, (90, 97)), structures(3, (90, 97)) // 2 + structures(0, (90, 97)) // 2
    inside = np.hypot(*(np.indices(a.shape) - np.array([40, 50])[:, None, None])) < (33 if body == "disc" else 999)
    assert visual_information_fidelity(a, f, inside) == pytest.approx(vif_by_convolution(a, f, inside))
    assert visual_information_fidelity(a, a, inside) == pytest.approx(1)
    assert visual_information_fidelity(a // 2, a, inside) > 1


def qabf_by_pixels(fused: Grey, first: Grey, second: Grey, body: Mask) -> float:
    """Xydeas and Petrovic 2000, equations 1 to 8, pixel by pixel."""
    edges = []
    for image in (fused, first, second):
        p = np.pad(image.astype(float), 1, mode="symmetric")
        sx = p[:-2, 2:] + 2 * p[1:-1, 2:] + p[2:, 2:] - p[:-2, :-2] - 2 * p[1:-1, :-2] - p[2:, :-2]
        sy = p[2:, :-2] + 2 * p[2:, 1:-1] + p[2:, 2:] - p[:-2, :-2] - 2 * p[:-2, 1:-1] - p[:-2, 2:]
        edges.append((sx, sy))
    kept = weights = 0.0
    for y, x in np.argwhere(body):
        (fx, fy), *sources = [(float(sx[y, x]), float(sy[y, x])) for sx, sy in edges]
        strength_f, angle_f = math.hypot(fx, fy), math.atan(fy / fx) if fx else math.pi / 2
        for sx, sy in sources:
            strength, angle = math.hypot(sx, sy), math.atan(sy / sx) if sx else math.pi / 2
            if strength == 0:
                continue
            ratio = strength_f / strength if strength > strength_f else strength / strength_f
            turn = abs(abs(angle - angle_f) - math.pi / 2) / (math.pi / 2)
            of_strength = 0.9994 / (1 + math.exp(-15 * (ratio - 0.5)))
            of_angle = 0.9879 / (1 + math.exp(-22 * (turn - 0.8)))
            kept += strength * of_strength * of_angle
            weights += strength
    return kept / weights


@pytest.mark.parametrize("body", [ALL, BODY])
def test_gradient_preservation(body: Mask) -> None:
    """Q^AB/F is the papers' weighted sum of sigmoids; it is highest, near 1, where the fused image is both sources."""
    assert gradient_preservation(F, A, B, body) == pytest.approx(qabf_by_pixels(F, A, B, body))
    assert gradient_preservation(A, A, A, body) > 0.97


LARGE_A, LARGE_F = (
    structures(0, LARGE),
    np.rint(0.6 * structures(0, LARGE) + 0.4 * structures(4, LARGE)).astype(np.uint8),
)
# Of LARGE_F and LARGE_A: scikit-image 0.26.0 (shannon_entropy; structural_similarity, data_range=255), scikit-learn
# 1.9.1 (mutual_info_score), sewar 0.4.10 (vifp).
REFERENCE: list[tuple[Callable[[Grey, Grey, Mask], float], float]] = [
    (lambda f, _, body: entropy(f, body), 7.040130879581223),
    (mutual_information, 1.6187936351941485),
    (structural_similarity, 0.6195643983229677),
    (lambda f, a, body: visual_information_fidelity(a, f, body), 0.1534875602232859),
]


@pytest.mark.parametrize(("measure", "expected"), REFERENCE, ids=["EN", "MI", "SSIM", "VIF"])
def test_public_packages_measure_the_same(measure: Callable[[Grey, Grey, Mask], float], expected: float) -> None:
    """On two pictures out of formulae, public packages gave the same to nine digits."""
    assert measure(LARGE_F, LARGE_A, np.ones(LARGE, bool)) == pytest.approx(expected, rel=1e-9)


def test_sums_over_both_sources() -> None:
    """MI, VIF and SSIM of a fused image are the sums over its two sources."""
    a, b = structures(0, (60, 70)), structures(5, (60, 70))
    fused, body = np.maximum(a, b), np.ones(a.shape, bool)
    measured = FusionMeasures.of(fused, a, b, body)
    assert measured.mi == pytest.approx(sum(mutual_information(fused, image, body) for image in (a, b)))
    assert measured.vif == pytest.approx(sum(visual_information_fidelity(image, fused, body) for image in (a, b)))
    assert measured.ssim == pytest.approx(sum(structural_similarity(fused, image, body) for image in (a, b)))
    assert FusionMeasures.mean([measured, FusionMeasures.of(a, a, b, body)]).en == pytest.approx(
        (entropy(fused, body) + entropy(a, body)) / 2
    )


@pytest.mark.parametrize("seed", range(3))
def test_what_lies_outside_the_body_does_not_count(seed: int) -> None:
    """Pixels far outside the body change no measure; windows of up to 17 px at four scales reach 60 px at most."""
    random = np.random.default_rng(seed)
    size = (200, 210)
    body = np.zeros(size, bool)
    body[80:120, 85:125] = True
    near = np.zeros(size, bool)
    near[20:180, 25:185] = True
    fused, first, second = (structures(phase, size) for phase in (0, 2, 5))
    before = FusionMeasures.of(fused, first, second, body)
    fused, first, second = (
        np.where(near, image, random.integers(0, 256, size)).astype(np.uint8) for image in (fused, first, second)
    )
    assert FusionMeasures.of(fused, first, second, body) == before


def test_flat_images_are_measured_too() -> None:
    """Constant images give finite measures: nothing to lose, nothing lost."""
    flat, body = np.full((40, 40), 9, np.uint8), np.ones((40, 40), bool)
    measured = FusionMeasures.of(flat, flat, flat, body)
    assert measured == FusionMeasures(en=0, sd=0, sf=0, mi=0, scd=0, vif=2, qabf=1, ssim=2)
