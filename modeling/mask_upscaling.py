"""From image tokens and mask tokens to low-resolution masks: SAM's upscaling and hypernetworks."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MaskUpscaling(nn.Module):
    """Upscale the image tokens fourfold and read one mask per mask token.

    A transposed convolution with a 2x2 kernel and stride 2 has no overlap: each pixel becomes four, each a
    linear map of it, so that it is a matrix product over channels. Channels stay last, where SAM's LayerNorm2d
    is a plain LayerNorm. Two such steps turn pixel (y, x) into rows 4y + 2i + k and columns 4x + 2j + l, with
    i, j of the first kernel and k, l of the second. Each (i, k), one row in four of the masks, is computed on its
    own: what is alive at a time stays in the processor's cache, and laying the four rows side by side restores
    the picture without a transposition.
    """

    first: Tensor
    second: Tensor
    first_bias: Tensor
    second_bias: Tensor

    def __init__(self, mask_decoder: Any, grid: tuple[int, int]) -> None:
        super().__init__()
        first, norm, _, second, _ = mask_decoder.output_upscaling
        self.grid = grid
        self.masks: int = mask_decoder.num_mask_tokens
        self.register_buffer("first", _row_weights(first.weight))
        self.register_buffer("second", _row_weights(second.weight))
        self.register_buffer("first_bias", first.bias.repeat(2))
        self.register_buffer("second_bias", second.bias.repeat(2))
        self.norm = nn.LayerNorm(first.out_channels, eps=norm.eps, elementwise_affine=False)
        self.norm.weight, self.norm.bias = norm.weight, norm.bias
        self.hypernetworks = StackedMlps(mask_decoder.output_hypernetworks_mlps)

    def forward(self, image_tokens: Tensor, mask_tokens: Tensor) -> Tensor:
        """Logits (B, M, 4h, 4w) of image tokens (B, hw, C) and mask tokens (B, M, C)."""
        height, width = self.grid
        batch = image_tokens.shape[0]
        hyper = self.hypernetworks(mask_tokens)
        channels = hyper.shape[-1]
        # In two dimensions, `linear` becomes one Gemm, bias included.
        pixels = image_tokens.flatten(0, 1)
        rows = []
        for first in self.first.unbind():
            upscaled = F.linear(pixels, first, self.first_bias).reshape(batch, height * width, 2, -1)
            upscaled = F.gelu(self.norm(upscaled))
            for second in self.second.unbind():
                row = F.gelu(upscaled @ second.T + self.second_bias).reshape(batch, -1, channels)
                rows.append((hyper @ row.transpose(1, 2)).reshape(batch, self.masks, height, 1, 4 * width))
        return torch.cat(rows, 3).reshape(batch, self.masks, 4 * height, 4 * width)


def _row_weights(weight: Tensor) -> Tensor:
    """A transposed convolution's 2x2 kernel, (in, out, 2, 2), by row as (2, 2 out, in), columns first."""
    return weight.permute(2, 3, 1, 0).flatten(1, 2).contiguous()


class StackedMlps(nn.Module):
    """Perceptrons of one shape, each for its own token, as batched products."""

    def __init__(self, mlps: Any) -> None:
        super().__init__()
        self.depth = len(mlps[0].layers)
        for depth in range(self.depth):
            layers = [mlp.layers[depth] for mlp in mlps]
            self.register_buffer(f"weight_{depth}", torch.stack([linear.weight.T for linear in layers]))
            self.register_buffer(f"bias_{depth}", torch.stack([linear.bias[None] for linear in layers]))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, M, C) -> (B, M, C'), token m through perceptron m."""
        hidden = tokens.transpose(0, 1)
        for depth in range(self.depth):
            hidden = hidden @ self.get_buffer(f"weight_{depth}") + self.get_buffer(f"bias_{depth}")
            if depth < self.depth - 1:
                hidden = hidden.relu()
        return hidden.transpose(0, 1)
