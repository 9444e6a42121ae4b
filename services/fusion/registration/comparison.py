"""What an alignment is improved by: how a warped image differs from the fixed one, channel by channel.

Every measure here is brought to one form. A warped moving image has channels; each should change by a residual; and to
second order the similarity falls by a weighted sum of what is left of the residuals. So whatever is climbed, a step is
a small linear least-squares problem (Gauss-Newton), which needs some five steps where gradient ascent needs fifty.

Tensors are float32; channels and residuals are (c, n, n), weights (n, n) or (c, n, n).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from services.fusion.registration.similarity import (
    BINS,
    bin_position,
    gradient_field,
    information,
    joint_density,
    mind_ssc,
    orientation_tensor,
    sobel_magnitude,
)

_EPSILON = 1e-6
# Where a residual is this large it counts half as much as a square would: a descriptor that does not exist in the other
# modality must not outvote the rest. Of channels that are scaled so that their squares sum to about one.
_ROBUST = 0.2
_ROBUST_SOBEL = 0.2


@dataclass(frozen=True, eq=False)
class Comparison:
    """A warped moving image beside the fixed one.

    Attributes:
        similarity: what is climbed; higher is better.
        channels: of the warped moving image.
        residual: by how much each channel should rise.
        weight: if the channels rise by d, the similarity rises by about sum(weight (residual² - (residual - d)²)).
        halfway: whether the channels' slopes are best taken halfway between what they are and what they should be.
    """

    similarity: float
    channels: Tensor
    residual: Tensor
    weight: Tensor
    halfway: bool = True


Comparer: TypeAlias = Callable[[Tensor, Tensor], Comparison]
"""(warped moving image, weight of its pixels in [0, 1]) -> comparison with the fixed image it was prepared with."""

Compare: TypeAlias = Callable[[Tensor, Tensor], Comparer]
"""(fixed image, weight of its pixels) -> comparer."""


def compare_structure(fixed: Tensor, valid: Tensor) -> Comparer:
    """MIND-SSC and the orientations of gradients together."""
    return compare_channels(lambda image, weight: torch.cat([_mind(image), _orientations(image, weight)]), fixed, valid)


def compare_mind(fixed: Tensor, valid: Tensor) -> Comparer:
    """MIND-SSC: finds its way from farther off."""
    return compare_channels(lambda image, _: _mind(image), fixed, valid)


def compare_gradients(fixed: Tensor, valid: Tensor) -> Comparer:
    """Orientations of normalised gradients, blind to sign and strength: sharp where edges meet."""
    return compare_channels(_orientations, fixed, valid)


def compare_edge_strength(fixed: Tensor, valid: Tensor) -> Comparer:
    """Match_Loss: | |Sobel(fixed)| - |Sobel(moving)| |. Edge strength is not shared by most modalities."""
    return compare_channels(lambda image, _: sobel_magnitude(image)[None], fixed, valid, _ROBUST_SOBEL)


def compare_information(fixed: Tensor, valid: Tensor) -> Comparer:
    """Mutual information in nats.

    Its curvature is taken to be that of a normal distribution of the moving intensities that go with a fixed one: a
    step moves an intensity towards its expectation, the farther the less certain that is.
    """
    del valid
    density_of = joint_density(fixed)
    bin_of = bin_position(fixed, BINS)[0]
    values = torch.arange(BINS, dtype=fixed.dtype) / (BINS - 3)

    def compare(moving: Tensor, weight: Tensor) -> Comparison:
        intensity = moving.detach().requires_grad_(True)
        with torch.enable_grad():
            density = density_of(intensity, weight)
            shared = information(density)
            (slope,) = torch.autograd.grad(shared, intensity)
        conditional = density.detach() / (density.detach().sum(dim=1, keepdim=True) + _EPSILON)
        spread = conditional @ values.square() - (conditional @ values).square()
        variance = spread.clamp(min=BINS**-2.0)[bin_of].reshape(moving.shape)
        share = weight / (weight.sum() + _EPSILON) / (2.0 * variance)
        residual = slope / (2.0 * share + _EPSILON)
        return Comparison(float(shared.detach()), moving[None], residual[None], share, halfway=False)

    return compare


def compare_distances(fixed: Tensor) -> Comparer:
    """Signed distances of targets where either is near its target.

    Args:
        fixed: (targets, n, n), see `Canvas.distances`.

    Returns:
        What compares the warped distances of the moving image's targets, (targets, n, n). The similarity is 0 where
        outlines agree and below where they do not.
    """

    def compare(moving: Tensor, weight: Tensor) -> Comparison:
        residual = fixed - moving
        near = ((fixed > -1) | (moving > -1)).float() * weight
        weight = near / near.sum().clamp(min=1.0)
        return Comparison(-float((weight * residual.square()).sum()), moving, residual, weight)

    return compare


def _mind(image: Tensor) -> Tensor:
    descriptors = mind_ssc(image)
    return descriptors.mul_(float(descriptors.shape[0]) ** -0.5)


def _orientations(image: Tensor, weight: Tensor) -> Tensor:
    return orientation_tensor(gradient_field(image, weight))


def compare_channels(
    describe: Callable[[Tensor, Tensor], Tensor],
    fixed: Tensor,
    valid: Tensor,
    robust: float = _ROBUST,
    trust: Tensor | None = None,
) -> Comparer:
    """1 minus the mean of a robust square of the channels' differences (Charbonnier et al., 1997).

    Args:
        describe: makes the channels (c, ...) of an image or volume and the weight of its elements.
        fixed: what is compared with.
        valid: the weight of its elements.
        robust: see `_ROBUST`.
        trust: a further weight of each element, where some say more than others.
    """
    wanted = describe(fixed, valid)

    def compare(moving: Tensor, weight: Tensor) -> Comparison:
        if trust is not None:
            weight = weight * trust
        return compared(wanted, describe(moving, weight), weight, robust)

    return compare


def compared(wanted: Tensor, channels: Tensor, weight: Tensor, robust: float = _ROBUST) -> Comparison:
    """What `compare_channels` says of channels (c, ...) against those wanted, under the weight (...) of elements."""
    residual = wanted - channels
    share = weight / (weight.sum() + _EPSILON)
    stretched = residual.square().sum(dim=0).div_(robust**2).add_(1.0).sqrt_()
    loss = 2.0 * robust**2 * float((share * (stretched - 1.0)).sum())
    # Without overlap the similarity is zero, not one.
    similarity = (1.0 - loss) * float(share.sum() > 0.5)
    return Comparison(similarity, channels, residual, share / stretched)
