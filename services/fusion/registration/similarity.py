"""How alike two images of different modalities are: MIND-SSC, normalised gradient fields, mutual information.

Tensors are float32 (height, width) unless said otherwise. A measure is prepared with the fixed image and then
called many times with the warped moving image and a weight in [0, 1] per pixel (0 where the images do not overlap);
it returns a scalar, larger for more alike. That of mutual information is differentiable. What is called in every step
writes into what it has allocated: at these sizes memory costs as much time as arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from services.fusion.registration.alignment import warp
from services.fusion.registration.workspace import CanvasPair

Measure = Callable[[Tensor, Tensor], Tensor]
"""(moving, weight) -> similarity."""

_EPSILON = 1e-6
# Neighbours on a diamond; consecutive ones are the pairs of MIND-SSC.
_DIAMOND = ((0, -1), (1, 0), (0, 1), (-1, 0))
# A Gaussian with sigma 1 px, over the five pixels of a patch.
_GAUSSIAN = torch.exp(-0.5 * torch.arange(-2.0, 3.0).square())
_PROFILE: list[float] = (_GAUSSIAN / _GAUSSIAN.sum()).tolist()


def mind_ssc(image: Tensor, dilations: tuple[int, ...] = (1, 2)) -> Tensor:
    """Modality-independent neighbourhood descriptors with self-similarity context, in two dimensions.

    Each channel holds exp(-D / V): D is the patch distance between two neighbours of a pixel that are
    adjacent on the diamond around it, V the mean of D over those pairs. The descriptor does not change when the
    intensities are scaled, shifted or inverted.

    Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using self-similarities",
    MICCAI 2013.

    Args:
        image: (height, width).
        dilations: radii of the diamond in pixels; each gives four channels.

    Returns:
        (4 * len(dilations), height, width), values in [0, 1].
    """
    distance = _patch_mean(_pair_differences(image, dilations)).reshape(len(dilations), 4, *image.shape)
    distance -= distance.amin(dim=1, keepdim=True)
    variance = distance.mean(dim=1, keepdim=True)
    # Where nothing varies the quotient would be noise: the clamp is relative to the whole image.
    typical = float(variance.mean())
    variance.clamp_(min=1e-3 * typical + 1e-12, max=1e3 * typical + 1e-12)
    return distance.div_(variance.neg_()).exp_().flatten(0, 1)


def local_contrast(image: Tensor, dilation: int = 2) -> Tensor:
    """(height, width): mean squared difference of the pairs of patches that MIND-SSC compares around a pixel."""
    return _patch_mean(_pair_differences(image, (dilation,))).mean(dim=0)


def _pair_differences(image: Tensor, dilations: tuple[int, ...]) -> Tensor:
    """(4 * len(dilations), height, width): squared differences of the pairs that are adjacent on diamonds."""
    height, width = image.shape
    differences = image.new_empty(len(dilations), 4, height, width)
    for dilation, of_diamond in zip(dilations, differences, strict=True):
        padded = F.pad(image[None, None], (dilation,) * 4, mode="replicate")[0, 0]
        neighbours = [padded[(1 + dy) * dilation :, (1 + dx) * dilation :][:height, :width] for dx, dy in _DIAMOND]
        for i in range(4):
            torch.sub(neighbours[i], neighbours[i - 1], out=of_diamond[i])
    return differences.square_().flatten(0, 1)


def _patch_mean(channels: Tensor) -> Tensor:
    """Gaussian mean with sigma 1 px over 5x5 patches, channel by channel."""
    padded = F.pad(channels[None], (2, 2, 2, 2), mode="replicate")[0]
    return _profile_mean(_profile_mean(padded, dim=2), dim=1)


def _profile_mean(padded: Tensor, dim: int) -> Tensor:
    """Along one axis. On canvases as small as ours, adding shifted copies takes half as long as `conv2d`."""
    length = padded.shape[dim] - len(_PROFILE) + 1
    mean = padded.narrow(dim, 0, length) * _PROFILE[0]
    for shift, share in enumerate(_PROFILE[1:], 1):
        mean.add_(padded.narrow(dim, shift, length), alpha=share)
    return mean


def gradient_field(image: Tensor, weight: Tensor | None = None) -> Tensor:
    """Normalised gradient field g / sqrt(|g|² + η²), with η the weighted mean of |g|.

    Haber and Modersitzki, "Intensity gradient based registration and fusion of multi-modal images", 2006.

    Returns:
        (2, height, width): x and y components, each vector shorter than 1.
    """
    padded = F.pad(image[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    gradient = image.new_empty(2, *image.shape)
    torch.sub(padded[1:-1, 2:], padded[1:-1, :-2], out=gradient[0])
    torch.sub(padded[2:, 1:-1], padded[:-2, 1:-1], out=gradient[1])
    gradient *= 0.5
    squared = gradient.square().sum(dim=0)
    length = (squared + _EPSILON**2).sqrt()
    edge = length.mean() if weight is None else (length * weight).sum() / (weight.sum() + _EPSILON)
    return gradient.div_(squared.add_(edge**2).add_(_EPSILON**2).sqrt_())


def orientation_tensor(field: Tensor) -> Tensor:
    """The outer product of a gradient field with itself: (3, height, width), xx, √2·xy and yy.

    Its inner product with another's is the squared inner product of the two fields: blind to the sign of edges.
    """
    x, y = field
    tensor = field.new_empty(3, *x.shape)
    torch.mul(x, x, out=tensor[0])
    torch.mul(2**0.5 * x, y, out=tensor[1])
    torch.mul(y, y, out=tensor[2])
    return tensor


def sobel_magnitude(image: Tensor) -> Tensor:
    """Length of the Sobel gradient, (height, width): the usual 3x3 kernels over 8, so that a ramp has its slope.

    It is what Match_Loss compares; see `quality.match_loss`.
    """
    padded = F.pad(image[None, None], (1, 1, 1, 1), mode="replicate")
    smooth, slope = (torch.tensor(taps, dtype=image.dtype) for taps in ((0.25, 0.5, 0.25), (-0.5, 0.0, 0.5)))
    kernels = torch.stack([smooth[:, None] * slope, slope[:, None] * smooth])[:, None]
    along_x, along_y = F.conv2d(padded, kernels)[0]
    magnitude: Tensor = (along_x.square() + along_y.square() + _EPSILON**2).sqrt()
    return magnitude


def overlap_weight(pair: CanvasPair, grid: Tensor, margin: int = 4) -> Tensor:
    """float32 (n, n): 1 where both canvases are valid under a sampling grid and no border lies within `margin` pixels.

    The default margin is the reach of a MIND-SSC descriptor: dilation 2 and the smoothing of patches.
    """
    with torch.no_grad():
        moving = warp(pair.moving.valid[None], grid, padding="zeros")[0] > 0.99
        return eroded((pair.fixed.valid > 0) & moving, margin)


def eroded(mask: Tensor, margin: int) -> Tensor:
    """float32, the mask's shape: 1 where every pixel within a square of `margin` pixels around is in the mask."""
    window = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    inner = cv2.erode(mask.numpy().astype(np.uint8), window, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return torch.from_numpy(inner).float()


def mind_measure(fixed: Tensor) -> Measure:
    """1 - mean absolute difference of the MIND-SSC descriptors; 1 for equal structure."""
    fixed_descriptors = mind_ssc(fixed)

    def measure(moving: Tensor, weight: Tensor) -> Tensor:
        difference = (fixed_descriptors - mind_ssc(moving)).abs_().mean(dim=0)
        # Without overlap the similarity is zero, not one.
        return ((1.0 - difference) * weight).sum() / (weight.sum() + _EPSILON)

    return measure


def gradient_measure(fixed: Tensor) -> Measure:
    """Cosine between the orientation tensors of the two gradient fields, in [0, 1]; 1 for equal edges."""
    fixed_tensor = orientation_tensor(gradient_field(fixed))
    fixed_squared = fixed_tensor.square().sum(dim=0)

    def measure(moving: Tensor, weight: Tensor) -> Tensor:
        moving_tensor = orientation_tensor(gradient_field(moving, weight))
        inner = ((fixed_tensor * moving_tensor).sum(dim=0) * weight).sum()
        fixed_norm = (fixed_squared * weight).sum()
        moving_norm = (moving_tensor.square().sum(dim=0) * weight).sum()
        return inner / (fixed_norm * moving_norm + _EPSILON).sqrt()

    return measure


def structure_measure(fixed: Tensor) -> Measure:
    """The mean of `mind_measure` and `gradient_measure`: for views that share their outlines."""
    mind, gradients = mind_measure(fixed), gradient_measure(fixed)

    def measure(moving: Tensor, weight: Tensor) -> Tensor:
        return 0.5 * (mind(moving, weight) + gradients(moving, weight))

    return measure


BINS = 32
"""Of mutual information."""


def information_measure(fixed: Tensor, bins: int = BINS) -> Measure:
    """Mutual information in nats, for views whose outlines differ. Images are clipped to [0, 1].

    Mattes et al., "PET-CT image registration in the chest using free-form deformations", 2003.
    """
    density_of = joint_density(fixed, bins)
    return lambda moving, weight: information(density_of(moving, weight))


def information(density: Tensor) -> Tensor:
    """Mutual information of a joint density, in nats."""
    independent = density.sum(dim=1, keepdim=True) * density.sum(dim=0, keepdim=True)
    return (density * ((density + 1e-10) / (independent + 1e-10)).log()).sum()


def joint_density(fixed: Tensor, bins: int = BINS) -> Callable[[Tensor, Tensor], Tensor]:
    """What makes the density (bins of fixed, bins of moving) of a moving image and a weight.

    A Parzen estimate with quadratic windows (linear ones of one bin, smoothed by [1 2 1] / 4).
    """
    fixed_lower, fixed_part = bin_position(fixed, bins)
    smoothing = torch.tensor([0.25, 0.5, 0.25], dtype=fixed.dtype)
    kernel = (smoothing[:, None] * smoothing)[None, None]

    def density_of(moving: Tensor, weight: Tensor) -> Tensor:
        lower, part = bin_position(moving, bins)
        corner = fixed_lower * bins + lower
        weight = weight.flatten()
        upper_fixed, lower_fixed = weight * fixed_part, weight * (1.0 - fixed_part)
        joint = moving.new_zeros(bins * bins)
        joint = joint.index_add(0, corner, lower_fixed * (1.0 - part))
        joint = joint.index_add(0, corner + 1, lower_fixed * part)
        joint = joint.index_add(0, corner + bins, upper_fixed * (1.0 - part))
        joint = joint.index_add(0, corner + bins + 1, upper_fixed * part)
        density = F.conv2d(joint.reshape(1, 1, bins, bins), kernel, padding=1)[0, 0]
        return density / (density.sum() + _EPSILON)

    return density_of


def bin_position(image: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Per pixel: the bin below its value and, in [0, 1], how far it lies towards the next.

    The outermost bins stay free, so that smoothing loses nothing beyond them.
    """
    position = image.flatten().clamp(0.0, 1.0) * (bins - 3) + 1.0
    lower = position.detach().floor().clamp(max=bins - 2)
    return lower.long(), position - lower
