"""Fusion of two registered images with a Laplacian pyramid.

Detail bands are combined by local energy: where the two images match, both count and the stronger one counts more;
elsewhere the stronger one is taken. Burt and Adelson, "The Laplacian pyramid as a compact image code", IEEE Trans.
Communications 31, 1983; Burt and Kolczynski, "Enhanced image capture through fusion", ICCV 1993.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask

Band = NDArray[np.float32]

MAX_LEVELS = 6
_TINY = 1e-12


class BaseRule(enum.Enum):
    """How the base bands are combined: their maximum, or their mean."""

    MAXIMUM = "maximum"
    AVERAGE = "average"


@dataclass(frozen=True)
class FusionRule:
    """How two images become one.

    Attributes:
        levels: detail bands above the base, 1 to 6; fewer are made of an image that cannot be halved so often.
        window: side in pixels of the neighbourhood over which energy and match are taken; odd.
        match_threshold: in [0, 1); at or below it the stronger band is taken alone.
        base_rule: how base bands are combined.
        background: grey levels up to this one are background; where both images are, nothing is drawn into them.
    """

    levels: int = 3
    window: int = 3
    match_threshold: float = 0.7
    base_rule: BaseRule = BaseRule.MAXIMUM
    background: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= MAX_LEVELS:
            raise ValueError(f"levels must lie between 1 and {MAX_LEVELS}, not {self.levels}")
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(f"window must be odd and above 0, not {self.window}")
        if not 0.0 <= self.match_threshold < 1.0:
            raise ValueError(f"match_threshold must lie in [0, 1), not {self.match_threshold}")


@dataclass(frozen=True, eq=False)
class LaplacianPyramid:
    """An image as bands.

    Attributes:
        details: float32 (height, width) each, from fine to coarse, each half the size of the one before, rounded up.
        base: float32, half the size of the last detail band.
    """

    details: tuple[Band, ...]
    base: Band

    @classmethod
    def of(cls, image: Band, levels: int) -> LaplacianPyramid:
        """Decompose a float32 image (height, width) of any size into at most `levels` detail bands and a base."""
        details = []
        for _ in range(levels):
            if min(image.shape) < 2:
                break
            smaller = np.asarray(cv2.pyrDown(image), np.float32)
            details.append(image - _expand(smaller, image.shape))
            image = smaller
        return cls(tuple(details), image)

    def reconstruct(self) -> Band:
        """The image: exactly the one that was decomposed, up to float32 rounding."""
        image = self.base
        for detail in reversed(self.details):
            image = _expand(image, detail.shape) + detail
        return image


def _expand(image: Band, shape: tuple[int, ...]) -> Band:
    height, width = shape
    return np.asarray(cv2.pyrUp(image, dstsize=(width, height)), np.float32)


def fuse_images(fixed: Band, moving: Band, rule: FusionRule | None = None, coverage: BoolMask | None = None) -> Band:
    """Fuse two images on one grid.

    Args:
        fixed: float32 (height, width), grey levels in [0, 1], 0 black.
        moving: the same, resampled onto the fixed grid.
        rule: how; the default rule when absent.
        coverage: bool (height, width), where the moving image has pixels; elsewhere the fixed image is shown.

    Returns:
        float32 (height, width), in [0, 1]. Two equal images give that image.

    Raises:
        ValueError: shapes differ, or grey levels leave [0, 1].
    """
    rule = rule or FusionRule()
    for image in (fixed, moving):
        if image.shape != fixed.shape or not (image.min() >= 0.0 and image.max() <= 1.0):
            raise ValueError("both images need one shape and finite grey levels in [0, 1]")
    if coverage is not None:
        # No step between the moving image and nothing, which would be fused as an edge.
        moving = np.where(coverage, moving, fixed)
    first, second = (LaplacianPyramid.of(image, rule.levels) for image in (fixed, moving))
    fused = LaplacianPyramid(
        tuple(_fuse_details(a, b, rule) for a, b in zip(first.details, second.details, strict=True)),
        np.maximum(first.base, second.base)
        if rule.base_rule is BaseRule.MAXIMUM
        else (first.base + second.base) / np.float32(2),
    ).reconstruct()
    larger = np.maximum(fixed, moving)
    # What the bands of neighbouring structures spill into the background is not there.
    return np.where(larger <= rule.background, larger, np.clip(fused, 0.0, 1.0)).astype(np.float32)


def _fuse_details(first: Band, second: Band, rule: FusionRule) -> Band:
    """Burt and Kolczynski's rule: salience is local energy, weights follow from the match measure."""
    salience_first, salience_second = _window_sum(first * first, rule), _window_sum(second * second, rule)
    match = 2.0 * _window_sum(first * second, rule) / (salience_first + salience_second + _TINY)
    weaker = np.clip(0.5 - 0.5 * (1.0 - match) / (1.0 - rule.match_threshold), 0.0, 0.5)
    weight = np.where(salience_first >= salience_second, 1.0 - weaker, weaker)
    return np.asarray(weight * first + (1.0 - weight) * second, np.float32)


def _window_sum(values: Band, rule: FusionRule) -> Band:
    size = (rule.window, rule.window)
    return np.asarray(
        cv2.boxFilter(values, cv2.CV_32F, size, normalize=False, borderType=cv2.BORDER_REFLECT_101), np.float32
    )
