"""What public evaluators measure of a fused image: EN, SD, SF, MI, SCD, VIF, Q^AB/F and SSIM.

Images are grey levels from 0 to 255; each measure takes a body mask, and then only pixels inside it count, so that a
black surround does not flatter a method. Higher is better in all of them, but none of them knows what a surgeon looks
for: they are shown side by side, and no rule is tuned on one alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask

Grey = NDArray[np.uint8]
Plane = NDArray[np.float64]

DATA_RANGE = 255.0
LEVELS = 256

_SSIM_SIDE = 7
_SSIM_K1, _SSIM_K2 = 0.01, 0.03
_VIF_SCALES = 4
_VIF_NOISE_VARIANCE = 2.0
_VIF_TINY = 1e-10


@dataclass(frozen=True)
class FusionMeasures:
    """Measures of one fused image.

    Attributes:
        en: entropy of the grey levels, bits.
        sd: standard deviation of the grey levels.
        sf: spatial frequency: root of the mean squared differences along rows and along columns, added.
        mi: mutual information of the fused image with each source, added, nats, 256 bins.
        scd: sum of the correlations of differences (Aslantas and Bendes 2015).
        vif: visual information fidelity in the pixel domain (Sheikh and Bovik 2006), added over the sources.
        qabf: gradient preservation Q^AB/F (Xydeas and Petrovic 2000), in [0, 1].
        ssim: structural similarity (Wang et al. 2004), added over the sources, at data range 255.
    """

    en: float
    sd: float
    sf: float
    mi: float
    scd: float
    vif: float
    qabf: float
    ssim: float

    @classmethod
    def of(cls, fused: Grey, first: Grey, second: Grey, body: BoolMask) -> FusionMeasures:
        """Measure a fused image against its sources.

        Args:
            fused: uint8 (height, width), 17 px or more on each side.
            first: a source on the same grid.
            second: the other one.
            body: bool (height, width), the pixels that count.
        """
        sources = (first, second)
        return cls(
            en=entropy(fused, body),
            sd=float(fused[body].std()),
            sf=spatial_frequency(fused, body),
            mi=sum(mutual_information(fused, source, body) for source in sources),
            scd=correlations_of_differences(fused, first, second, body),
            vif=sum(visual_information_fidelity(source, fused, body) for source in sources),
            qabf=gradient_preservation(fused, first, second, body),
            ssim=sum(structural_similarity(fused, source, body) for source in sources),
        )

    @classmethod
    def mean(cls, measured: list[FusionMeasures]) -> FusionMeasures:
        """The mean of each measure over several images."""
        return cls(**{field.name: float(np.mean([getattr(m, field.name) for m in measured])) for field in fields(cls)})


def entropy(image: Grey, body: BoolMask) -> float:
    """Shannon entropy of the grey levels inside the body, bits."""
    shares = np.bincount(image[body], minlength=LEVELS) / np.count_nonzero(body)
    return float(-np.sum(shares * np.log2(shares, where=shares > 0, out=np.zeros(LEVELS))))


def spatial_frequency(image: Grey, body: BoolMask) -> float:
    """Root of the mean squared horizontal plus the mean squared vertical difference of neighbours inside the body."""
    plane = image.astype(np.float64)
    along_row = np.diff(plane, axis=1)[body[:, 1:] & body[:, :-1]]
    along_column = np.diff(plane, axis=0)[body[1:] & body[:-1]]
    return float(np.sqrt(np.mean(along_row**2) + np.mean(along_column**2)))


def mutual_information(first: Grey, second: Grey, body: BoolMask) -> float:
    """Mutual information of the grey levels of two images inside the body, nats, from their joint histogram."""
    pairs = first[body].astype(np.intp) * LEVELS + second[body]
    joint = np.bincount(pairs, minlength=LEVELS**2).reshape(LEVELS, LEVELS) / len(pairs)
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log(joint[seen] / independent[seen])))


def correlations_of_differences(fused: Grey, first: Grey, second: Grey, body: BoolMask) -> float:
    """SCD: correlation of each source with what the other one lacks of the fused image, added."""
    f, a, b = (image[body].astype(np.float64) for image in (fused, first, second))
    return _correlation(a, f - b) + _correlation(b, f - a)


def _correlation(first: Plane, second: Plane) -> float:
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    # Nothing varies: nothing correlates.
    return float(a @ b) / scale if scale > 0 else 0.0


def visual_information_fidelity(reference: Grey, image: Grey, body: BoolMask) -> float:
    """VIF in the pixel domain, over four scales: the information of the reference that the image keeps.

    Windows are Gaussian, 17, 9, 5 and 3 px wide, a fifth of that their standard deviation; the noise of the eye has
    variance 2. A window counts where its middle lies in the body.
    """
    a, b, inside = reference.astype(np.float64), image.astype(np.float64), body
    kept = available = 0.0
    for scale in range(_VIF_SCALES):
        side = 2 ** (_VIF_SCALES - scale) + 1
        if scale:
            # The next scale: blurred, and every second pixel of what whole windows gave.
            a, b = (_windows(plane, side)[::2, ::2] for plane in (a, b))
            inside = _middles(inside, side)[::2, ::2]
        if min(a.shape) < side:
            break
        kept_here, available_here = _information(a, b, side)
        counted = _middles(inside, side)
        kept += float(kept_here[counted].sum())
        available += float(available_here[counted].sum())
    # A reference without information loses none.
    return kept / available if available > 0 else 1.0


def _information(reference: Plane, image: Plane, side: int) -> tuple[Plane, Plane]:
    """Information kept and available in each whole window, log10 units."""
    mean_a, mean_b = _windows(reference, side), _windows(image, side)
    variance_a = np.maximum(_windows(reference**2, side) - mean_a**2, 0.0)
    variance_b = np.maximum(_windows(image**2, side) - mean_b**2, 0.0)
    covariance = _windows(reference * image, side) - mean_a * mean_b
    gain = covariance / (variance_a + _VIF_TINY)
    rest = variance_b - gain * covariance
    flat_a, flat_b = variance_a < _VIF_TINY, variance_b < _VIF_TINY
    gain[flat_a | flat_b] = 0.0
    rest[flat_a] = variance_b[flat_a]
    rest[flat_b] = 0.0
    inverted = gain < 0
    rest[inverted] = variance_b[inverted]
    gain[inverted] = 0.0
    variance_a[flat_a] = 0.0
    rest = np.maximum(rest, _VIF_TINY)
    kept = np.log10(1.0 + gain**2 * variance_a / (rest + _VIF_NOISE_VARIANCE))
    return kept, np.log10(1.0 + variance_a / _VIF_NOISE_VARIANCE)


def _windows(plane: Plane, side: int) -> Plane:
    """Gaussian mean of every whole window of this side; smaller than the plane by side - 1."""
    kernel = cv2.getGaussianKernel(side, side / 5)
    blurred = cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel)
    return np.asarray(blurred[_inner(blurred.shape, side)], np.float64)


def _middles(mask: BoolMask, side: int) -> BoolMask:
    return mask[_inner(mask.shape, side)]


def _inner(shape: tuple[int, ...], side: int) -> tuple[slice, slice]:
    margin = side // 2
    return slice(margin, shape[0] - margin), slice(margin, shape[1] - margin)


def structural_similarity(image: Grey, reference: Grey, body: BoolMask) -> float:
    """SSIM at data range 255: uniform windows of 7 x 7 px, unbiased variances, K1 = .01, K2 = .03.

    The mean over windows whose middle lies in the body; windows that leave the image do not count.
    """
    x, y = image.astype(np.float64), reference.astype(np.float64)
    mean_x, mean_y = _boxes(x), _boxes(y)
    unbiased = _SSIM_SIDE**2 / (_SSIM_SIDE**2 - 1)
    variance_x = unbiased * (_boxes(x * x) - mean_x**2)
    variance_y = unbiased * (_boxes(y * y) - mean_y**2)
    covariance = unbiased * (_boxes(x * y) - mean_x * mean_y)
    c1, c2 = (_SSIM_K1 * DATA_RANGE) ** 2, (_SSIM_K2 * DATA_RANGE) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    likeness /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float(likeness[_middles(body, _SSIM_SIDE)].mean())


def _boxes(plane: Plane) -> Plane:
    mean = cv2.boxFilter(plane, cv2.CV_64F, (_SSIM_SIDE, _SSIM_SIDE))
    return np.asarray(mean[_inner(mean.shape, _SSIM_SIDE)], np.float64)


def gradient_preservation(fused: Grey, first: Grey, second: Grey, body: BoolMask) -> float:
    """Q^AB/F: how well strength and orientation of each source's Sobel edges are kept, weighted by their strength."""
    edges = _Edges.of(fused)
    kept = weights = 0.0
    for source in (first, second):
        of_source = _Edges.of(source)
        kept += float((edges.preserving(of_source) * of_source.strength)[body].sum())
        weights += float(of_source.strength[body].sum())
    # Sources without edges lose none.
    return kept / weights if weights > 0 else 1.0


@dataclass(frozen=True, eq=False)
class _Edges:
    """Sobel edges: their strength, and their orientation in [-pi/2, pi/2]."""

    strength: Plane
    orientation: Plane

    @classmethod
    def of(cls, image: Grey) -> _Edges:
        plane = image.astype(np.float64)
        along_x = cv2.Sobel(plane, cv2.CV_64F, 1, 0, borderType=cv2.BORDER_REFLECT)
        along_y = cv2.Sobel(plane, cv2.CV_64F, 0, 1, borderType=cv2.BORDER_REFLECT)
        upright = np.full_like(along_x, np.pi / 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            orientation = np.where(along_x == 0, upright, np.arctan(along_y / along_x))
        return cls(np.hypot(along_x, along_y), orientation)

    def preserving(self, source: _Edges) -> Plane:
        """Xydeas and Petrovic's Q^AF: sigmoids of relative strength and orientation, with their constants."""
        weaker, stronger = (choose(self.strength, source.strength) for choose in (np.minimum, np.maximum))
        strength = np.divide(weaker, stronger, where=stronger > 0, out=np.zeros_like(weaker))
        orientation = np.abs(np.abs(source.orientation - self.orientation) - np.pi / 2) / (np.pi / 2)
        return _sigmoid(strength, 0.9994, -15.0, 0.5) * _sigmoid(orientation, 0.9879, -22.0, 0.8)


def _sigmoid(value: Plane, height: float, steepness: float, middle: float) -> Plane:
    return np.asarray(height / (1.0 + np.exp(steepness * (value - middle))), np.float64)
