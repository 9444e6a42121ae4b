"""segment-anything's own SamPredictor and SamAutomaticMaskGenerator beside a torch without its torchvision.

A named exception to "no monkeypatching", for tests only: torchvision's wheels carry compiled operators for another
build of torch and fail to load beside the CPU build. SamPredictor needs of torchvision nothing but a resize in Python,
so the two operators that its import expects are declared before it is imported. SamAutomaticMaskGenerator calls `nms`,
which is given here, after torchvision's C++.
"""

from typing import Any

import torch
from torch import Tensor, nn

from modeling import segment_anything_modules

_DECLARED: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # torch's omission
for _name in ("nms", "qnms"):
    _DECLARED.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Returns the indices that torchvision/csrc/ops/cpu/nms_kernel.cpp keeps, in the order of decreasing score."""
    x1, y1, x2, y2 = dets.unbind(1)
    areas = (x2 - x1) * (y2 - y1)
    order = scores.sort(stable=True, dim=0, descending=True)[1]
    suppressed = torch.zeros(len(order), dtype=torch.bool)
    keep: list[int] = []
    for position, i in enumerate(order.tolist()):
        if suppressed[i]:
            continue
        keep.append(i)
        j = order[position + 1 :]
        width = torch.clamp(torch.minimum(x2[i], x2[j]) - torch.maximum(x1[i], x1[j]), min=0)
        height = torch.clamp(torch.minimum(y2[i], y2[j]) - torch.maximum(y1[i], y1[j]), min=0)
        common = width * height
        # In double precision, as C++ compares; no number (of two boxes without area) is not above.
        suppressed[j] |= (common / (areas[i] + areas[j] - common)).double() > iou_threshold
    return torch.tensor(keep, dtype=torch.int64)


_DECLARED.impl("nms", nms, "CPU")

# The operators must be declared before.
import torchvision.extension  # noqa: E402
from segment_anything import SamAutomaticMaskGenerator, SamPredictor  # noqa: E402
from segment_anything.utils.amg import generate_crop_boxes  # noqa: E402

# Asked before `nms` is called: the compiled operators did not load, but this one is here.
torchvision.extension._has_ops = lambda: True

__all__ = ["generate_crop_boxes", "mask_generator", "nms", "predictor"]


def predictor(model: nn.Module) -> Any:
    """Returns the official predictor of a model."""
    assert isinstance(model, segment_anything_modules.Sam)
    return SamPredictor(model)


def mask_generator(model: nn.Module, **parameters: Any) -> Any:
    """Returns the official generator of masks of everything."""
    assert isinstance(model, segment_anything_modules.Sam)
    return SamAutomaticMaskGenerator(model, **parameters)
