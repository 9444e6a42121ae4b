"""segment-anything's own SamPredictor beside a torch without its torchvision.

A named exception to "no monkeypatching", for tests only: torchvision's wheels carry compiled operators for another
build of torch and fail to load beside the CPU build. SamPredictor needs of torchvision nothing but a resize in Python,
so the two operators that its import expects are declared, without code, before it is imported.
"""

from typing import Any

import torch
from torch import nn

from modeling import segment_anything_modules

_DECLARED: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # torch's omission
for _name in ("nms", "qnms"):
    _DECLARED.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from segment_anything import SamPredictor  # noqa: E402 - the operators must be declared before


def predictor(model: nn.Module) -> Any:
    """Returns the official predictor of a model."""
    assert isinstance(model, segment_anything_modules.Sam)
    return SamPredictor(model)
