"""Low-rank adaptation of linear layers (Hu et al., 2021): W x + (s / r) B A x, with B zero at the start."""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layer = TypeVar("Layer", bound=nn.Module)


class LoraLinear(nn.Module):
    """A frozen linear layer with a trained low-rank addition.

    Args:
        linear: the layer; it is frozen.
        rank: r, columns of A.
        scale: s.
        generator: draws A.
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scale = scale / rank
        self.down = nn.Parameter(torch.empty(rank, linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5), generator=generator)

    def forward(self, values: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        adapted: Tensor = self.linear(values) + self.scale * F.linear(F.linear(values, self.down), self.up)
        return adapted

    def merged(self) -> nn.Linear:
        """A plain layer that computes the same."""
        linear = nn.Linear(self.linear.in_features, self.linear.out_features, bias=self.linear.bias is not None)
        state = {name: tensor.detach().clone() for name, tensor in self.linear.state_dict().items()}
        state["weight"] += self.scale * (self.up @ self.down).detach()
        linear.load_state_dict(state)
        return linear


# Attention and perceptrons of TinyViT and of segment-anything's ViT.
ADAPTED = ("qkv", "proj", "fc1", "fc2", "lin1", "lin2")


def add_lora(module: nn.Module, rank: int, scale: float, *, seed: int = 0, suffixes: tuple[str, ...] = ADAPTED) -> int:
    """Replace a module's linear layers whose names end so by `LoraLinear`, drawn from a seed; returns how many."""
    replaced, generator = 0, torch.Generator().manual_seed(seed)
    for name, parent, layer in _linears(module, nn.Linear):
        if name.endswith(suffixes):
            setattr(parent, name.rsplit(".", 1)[-1], LoraLinear(layer, rank, scale, generator))
            replaced += 1
    return replaced


def merge_lora(module: nn.Module) -> None:
    """Replace every `LoraLinear` of a module by the plain layer that computes the same."""
    for name, parent, layer in _linears(module, LoraLinear):
        setattr(parent, name.rsplit(".", 1)[-1], layer.merged())


def _linears(module: nn.Module, kind: type[Layer]) -> list[tuple[str, nn.Module, Layer]]:
    """(name, parent, layer) of every layer of a kind."""
    found = []
    for name, layer in module.named_modules():
        if isinstance(layer, kind):
            found.append((name, module.get_submodule(name.rpartition(".")[0]), layer))
    return found
