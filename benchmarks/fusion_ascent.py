"""Pictures that are changed pixel by pixel, by gradient ascent, for what public measures count.

The measures are those of `fusion_measures.py`, written in torch so that they have gradients; SSIM and VIF are the same
sums, Q^AB/F differs where an edge has no strength. They steer the ascent only: what is reported of a picture is
measured by `fusion_measures.py` on its grey levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.fusion_pairs import Pair

Grey = NDArray[np.uint8]

# Adam's rate in grey levels, and how many steps of it.
RATES = ((1.0, 120), (0.3, 60), (0.1, 40))
# What a missed bar costs, in SSIM for each unit of the measure that is missed.
_PRICE = 20.0
# How far above the bars the ascent aims.
_MARGIN = 0.003
_SIDE = 7
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_SCALES = 4
_NOISE_VARIANCE = 2.0
_TINY = 1e-6


@dataclass(frozen=True)
class Bars:
    """What a picture's Q^AB/F and VIF (summed over both sources) should not fall below."""

    qabf: float
    vif: float


def most_similar(pair: Pair, start: Grey, bars: Bars | None = None, rates: Sequence[tuple[float, int]] = RATES) -> Grey:
    """The picture of largest SSIM, summed over both sources, that ascent finds.

    Args:
        pair: the sources, and the body in which measures count.
        start: uint8 (height, width), where the ascent begins.
        bars: what else the picture should reach; without, nothing but SSIM counts.
        rates: of the steps, in grey levels, and how many of each.

    Returns:
        uint8 (height, width): rounded at the end, which costs about .001 of SSIM where images differ little.
    """
    sources = [_plane(pair.fixed), _plane(pair.moving)]
    body = torch.from_numpy(pair.body)
    picture = _plane(start).requires_grad_(True)
    for rate, steps in rates:
        optimiser = torch.optim.Adam([picture], lr=rate)
        for _ in range(steps):
            optimiser.zero_grad()
            loss = -_sum([similarity(picture, source, body) for source in sources])
            if bars is not None:
                loss = loss + _PRICE * F.relu(bars.qabf + _MARGIN - preservation(picture, sources, body))
                fidelity = _sum([information_fidelity(source, picture, body) for source in sources])
                loss = loss + _PRICE * F.relu(bars.vif + _MARGIN - fidelity)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
            optimiser.step()
            with torch.no_grad():
                picture.clamp_(0.0, 255.0)
    found: Grey = np.rint(picture.detach().numpy()).astype(np.uint8)
    return found


def similarity(image: Tensor, reference: Tensor, body: Tensor) -> Tensor:
    """SSIM as `fusion_measures.structural_similarity` defines it."""
    unbiased = _SIDE**2 / (_SIDE**2 - 1)
    mean_x, mean_y = _boxes(image), _boxes(reference)
    variance_x = unbiased * (_boxes(image * image) - mean_x**2)
    variance_y = unbiased * (_boxes(reference * reference) - mean_y**2)
    covariance = unbiased * (_boxes(image * reference) - mean_x * mean_y)
    likeness = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    likeness = likeness / ((mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2))
    return likeness[_middles(body, _SIDE)].mean()


def information_fidelity(reference: Tensor, image: Tensor, body: Tensor) -> Tensor:
    """VIF as `fusion_measures.visual_information_fidelity` defines it, of sources that are not flat."""
    a, b, inside = reference, image, body
    kept, available = torch.zeros(()), torch.zeros(())
    for scale in range(_SCALES):
        side = 2 ** (_SCALES - scale) + 1
        if scale:
            a, b = (_gaussian(plane, side)[::2, ::2] for plane in (a, b))
            inside = _middles(inside, side)[::2, ::2]
        if min(a.shape) < side:
            break
        mean_a, mean_b = _gaussian(a, side), _gaussian(b, side)
        variance_a = F.relu(_gaussian(a * a, side) - mean_a**2)
        variance_b = F.relu(_gaussian(b * b, side) - mean_b**2)
        gain = F.relu((_gaussian(a * b, side) - mean_a * mean_b) / (variance_a + _TINY))
        rest = F.relu(variance_b - gain**2 * variance_a)
        counted = _middles(inside, side)
        kept = kept + torch.log10(1.0 + gain**2 * variance_a / (rest + _NOISE_VARIANCE))[counted].sum()
        available = available + torch.log10(1.0 + variance_a / _NOISE_VARIANCE)[counted].sum()
    return kept / available


def preservation(image: Tensor, sources: list[Tensor], body: Tensor) -> Tensor:
    """Q^AB/F as `fusion_measures.gradient_preservation` defines it, but for edges without strength."""
    strength, orientation = _edges(image)
    kept, weights = torch.zeros(()), torch.zeros(())
    for source in sources:
        wanted, along = _edges(source)
        ratio = torch.minimum(strength, wanted) / torch.maximum(strength, wanted).clamp(min=_TINY)
        alike = ((along - orientation).abs() - math.pi / 2).abs() / (math.pi / 2)
        share = 0.9994 * torch.sigmoid(15.0 * (ratio - 0.5)) * 0.9879 * torch.sigmoid(22.0 * (alike - 0.8))
        kept = kept + (share * wanted)[body].sum()
        weights = weights + wanted[body].sum()
    return kept / weights


def _edges(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Strength and orientation, in [-pi/2, pi/2], of Sobel edges; their gradients stay finite where nothing changes."""
    framed = F.pad(plane[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    rows = framed[:-2] + 2 * framed[1:-1] + framed[2:]
    columns = framed[:, :-2] + 2 * framed[:, 1:-1] + framed[:, 2:]
    along_x, along_y = rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2]
    upright = torch.where(along_x.abs() < _TINY, torch.full_like(along_x, _TINY), along_x)
    return torch.sqrt(along_x**2 + along_y**2 + _TINY), torch.atan(along_y / upright)


def _boxes(plane: Tensor) -> Tensor:
    return F.avg_pool2d(plane[None, None], _SIDE, 1)[0, 0]


def _gaussian(plane: Tensor, side: int) -> Tensor:
    kernel = torch.from_numpy(cv2.getGaussianKernel(side, side / 5)).to(plane.dtype)
    along_rows = F.conv2d(plane[None, None], kernel.view(1, 1, 1, side))
    return F.conv2d(along_rows, kernel.view(1, 1, side, 1))[0, 0]


def _middles(mask: Tensor, side: int) -> Tensor:
    margin = side // 2
    return mask[margin : mask.shape[0] - margin, margin : mask.shape[1] - margin]


def _plane(image: Grey) -> Tensor:
    return torch.from_numpy(image.astype(np.float32))


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()
