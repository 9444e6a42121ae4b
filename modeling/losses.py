"""Losses of promptable segmentation, on logits.

Shapes: logits and masks (B, M, h, w), masks 0 or 1; each loss is one value per mask, (B, M), so that the caller may
take the least of several candidates.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def focal_loss(logits: Tensor, masks: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Lin et al., "Focal loss for dense object detection", 2017; mean over pixels."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    probability = logits.sigmoid()
    of_truth = probability * masks + (1 - probability) * (1 - masks)
    weight = alpha * masks + (1 - alpha) * (1 - masks)
    return (weight * (1 - of_truth) ** gamma * cross_entropy).mean((2, 3))


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """1 - soft Dice (Milletari et al., "V-Net", 2016), with one pixel added above and below the fraction."""
    probability = logits.sigmoid()
    common = (probability * masks).sum((2, 3))
    return 1 - (2 * common + 1) / (probability.sum((2, 3)) + masks.sum((2, 3)) + 1)


def cross_entropy_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross entropy, mean over pixels."""
    return F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean((2, 3))


def mask_iou(logits: Tensor, masks: Tensor, threshold: float = 0.0) -> Tensor:
    """IoU of the thresholded logits with the masks, (B, M), without gradient; 1 where both are empty."""
    with torch.no_grad():
        inside, truth = logits > threshold, masks > 0.5
        union = (inside | truth).sum((2, 3))
        return torch.where(union > 0, (inside & truth).sum((2, 3)) / union.clamp(min=1), torch.ones_like(union))


def iou_regression_loss(predicted: Tensor, logits: Tensor, masks: Tensor) -> Tensor:
    """Squared error of predicted IoUs (B, M) against those of the thresholded masks (SAM, section A)."""
    return (predicted - mask_iou(logits, masks)) ** 2


def ranking_loss(predicted: Tensor, logits: Tensor, masks: Tensor, margin: float = 0.5) -> Tensor:
    """How far scores order the M candidates of one prompt otherwise than their IoUs do, (B,).

    For each pair, the better candidate's score should exceed the other's by `margin` times the difference in IoU.
    """
    iou = mask_iou(logits, masks)
    better = (iou[:, :, None] - iou[:, None, :]).clamp(min=0)
    shortfall = margin * better - (predicted[:, :, None] - predicted[:, None, :])
    return (shortfall.clamp(min=0) * (better > 0)).sum((1, 2)) / max(predicted.shape[1], 1)


def match_loss(first: Tensor, second: Tensor) -> Tensor:
    """|Sobel(first) - Sobel(second)| / N of images (B, 1, h, w), one value each, (B,).

    The loss by which the founding stone study judges a registration of CT and X-ray; Sobel is the magnitude of the
    gradient. On masks it compares outlines.
    """
    return (_sobel(first) - _sobel(second)).abs().mean((1, 2, 3))


def _sobel(images: Tensor) -> Tensor:
    kernel = torch.tensor(
        [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=images.device, dtype=images.dtype
    )
    kernels = torch.stack([kernel, kernel.T])[:, None]
    gradients = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernels)
    # A little above zero under the root, where its slope is not finite.
    return (gradients.square().sum(1, keepdim=True) + 1e-12).sqrt()
