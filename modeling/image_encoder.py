"""The image encoders as they are exported: with a free batch dimension, and TinyViT arranged for a CPU runtime."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def exportable(image_encoder: nn.Module) -> nn.Module:
    """The encoder itself, or the same function in a form that exports better; (B, 3, S, S) -> (B, C, h, w)."""
    if type(image_encoder).__name__ == "TinyViT":
        return TinyVitEncoder(image_encoder).eval()
    return image_encoder


class TinyVitEncoder(nn.Module):
    """LiteMedSAM's encoder (TinyViT, Wu et al. 2022, striding 4 in all where that strides 32).

    The weights are the original's, the answer is the same up to rounding. The original reads the batch size with
    `len(x)` between stages, which tracing freezes; this one keeps the grid, (B, h, w, C), between layers. Biases are
    added by the matrix products themselves, as `linear` on two dimensions exports to one Gemm.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        stages = encoder.layers[1:]
        self.stages = nn.ModuleList(nn.Sequential(*map(TinyVitBlock, stage.blocks)) for stage in stages)
        self.neck = Neck(encoder.neck)

    def forward(self, image: Tensor) -> Tensor:
        """The image embedding."""
        first, *stages = self.encoder.layers
        maps: Tensor = self.encoder.patch_embed(image)
        for block in first.blocks:
            maps = block(maps)
        grid = _merge(first.downsample, maps)
        for stage, blocks in zip(stages, self.stages, strict=True):
            grid = blocks(grid)
            if stage.downsample is not None:
                grid = _merge(stage.downsample, grid.permute(0, 3, 1, 2))
        embedding: Tensor = self.neck(grid)
        return embedding


def _merge(merging: Any, maps: Tensor) -> Tensor:
    """A merging layer between stages: maps (B, C, h, w) to a grid (B, h', w', C')."""
    maps = merging.act(merging.conv1(maps))
    maps = merging.act(merging.conv2(maps))
    merged: Tensor = merging.conv3(maps)
    return merged.permute(0, 2, 3, 1)


class TinyVitBlock(nn.Module):
    """Attention within windows, a depth-wise convolution, a perceptron; on a grid (B, h, w, C)."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.size: tuple[int, int] = block.input_resolution
        self.attention = WindowAttention(block.attn, block.input_resolution, block.window_size)
        self.local_conv = block.local_conv
        self.mlp = block.mlp

    def forward(self, grid: Tensor) -> Tensor:
        """The next grid."""
        channels = grid.shape[-1]
        grid = grid + self.attention(grid)
        grid = self.local_conv(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        tokens = self.mlp.norm(grid.reshape(-1, channels))
        perceived: Tensor = self.mlp.fc2(F.gelu(self.mlp.fc1(tokens)))
        return grid + perceived.reshape(-1, *self.size, channels)


def _whole(length: int, window: int) -> tuple[int, int]:
    """How many windows cover a length, and how much they exceed it."""
    count = -(-length // window)
    return count, count * window - length


class WindowAttention(nn.Module):
    """Attention within square windows of a grid that is padded, right and below, to whole windows.

    The original pads the grid with zeros, normalises and projects all of it, and its tokens attend to the padding
    too. Up to a sixth of that grid is padding, one row again and again: LayerNorm makes of zero its own shift β,
    so that a padding token's key is W_k β + b_k and its value W_v β + b_v. Here those two rows are taken from all keys
    and values, which leaves the projections without biases, of tokens normalised without shift, and zero where the
    padding is: it is added after the projections. What was taken comes back exactly:

    - one row less in all keys shifts all of a query's logits alike, and softmax does not see it;
    - weights of one query sum to one, so that one row less in all values is that row less in the answer, and its
      projection is a constant of the model, added to the output's bias.
    """

    query_weight: Tensor
    query_bias: Tensor
    key_weight: Tensor
    value_weight: Tensor
    out_weight: Tensor
    out_bias: Tensor
    position_bias: Tensor

    def __init__(self, attention: Any, size: tuple[int, int], window: int) -> None:
        super().__init__()
        self.size, self.window, self.heads = size, window, attention.num_heads
        shift = attention.norm.bias.detach()
        self.norm = nn.LayerNorm(len(shift), eps=attention.norm.eps)
        self.norm.load_state_dict({"weight": attention.norm.weight, "bias": torch.zeros_like(shift)})
        # The original's one projection interleaves queries, keys and values by head.
        parts = (self.heads, 3, attention.key_dim)
        weights = [part.flatten(0, 1) for part in attention.qkv.weight.detach().unflatten(0, parts).unbind(1)]
        biases = [part.flatten() for part in attention.qkv.bias.detach().unflatten(0, parts).unbind(1)]
        biases = [weight @ shift + bias for weight, bias in zip(weights, biases, strict=True)]
        self.register_buffer("query_weight", attention.scale * weights[0])
        self.register_buffer("query_bias", attention.scale * biases[0])
        self.register_buffer("key_weight", weights[1].T.contiguous())
        self.register_buffer("value_weight", weights[2].T.contiguous())
        self.register_buffer("out_weight", attention.proj.weight.detach())
        self.register_buffer("out_bias", attention.proj(biases[2]).detach())
        self.register_buffer("position_bias", attention.attention_biases[:, attention.attention_bias_idxs].detach())

    def forward(self, grid: Tensor) -> Tensor:
        """Update (B, h, w, C) of a grid (B, h, w, C)."""
        channels = grid.shape[-1]
        tokens = self.norm(grid.reshape(-1, channels))
        queries = self._windows(F.linear(tokens, self.query_weight, self.query_bias))
        keys = self._windows(tokens @ self.key_weight)
        values = self._windows(tokens @ self.value_weight)
        weights = (queries @ keys.transpose(2, 3) + self.position_bias).softmax(-1)
        attended = self._grid(weights @ values).reshape(-1, channels)
        return F.linear(attended, self.out_weight, self.out_bias).reshape(-1, *self.size, channels)

    def _windows(self, tokens: Tensor) -> Tensor:
        """Windows (B n, H, s s, d) of tokens (B h w, H d), with zeros where the grid is padded."""
        (rows, below), (columns, right) = (_whole(length, self.window) for length in self.size)
        side, channels = self.window, tokens.shape[-1]
        grid = F.pad(tokens.reshape(-1, *self.size, channels), (0, 0, 0, right, 0, below))
        windows = grid.reshape(-1, rows, side, columns, side, self.heads, channels // self.heads)
        return windows.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, self.heads, side * side, channels // self.heads)

    def _grid(self, windows: Tensor) -> Tensor:
        """The grid (B, h, w, H d) of windows (B n, H, s s, d), without the padding."""
        (rows, _), (columns, _) = (_whole(length, self.window) for length in self.size)
        side, width = self.window, windows.shape[-1]
        grid = windows.reshape(-1, rows, columns, self.heads, side, side, width).permute(0, 1, 4, 2, 5, 3, 6)
        grid = grid.reshape(-1, rows * side, columns * side, self.heads * width)
        return grid[:, : self.size[0], : self.size[1]]


class Neck(nn.Module):
    """The last two convolutions: a grid (B, h, w, C) to the embedding (B, C', h, w), LayerNorm2d as LayerNorm."""

    def __init__(self, neck: Any) -> None:
        super().__init__()
        pointwise, first_norm, self.conv, second_norm = neck
        self.pointwise = _frozen(pointwise.weight.flatten(1))
        self.first_norm = _channel_last(first_norm)
        self.second_norm = _channel_last(second_norm)

    def forward(self, grid: Tensor) -> Tensor:
        """The image embedding."""
        _, height, width, channels = grid.shape
        tokens = self.first_norm(F.linear(grid.reshape(-1, channels), self.pointwise))
        maps = self.conv(tokens.reshape(-1, height, width, self.pointwise.shape[0]).permute(0, 3, 1, 2))
        embedding: Tensor = self.second_norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return embedding


def _channel_last(norm: Any) -> nn.LayerNorm:
    channel_last = nn.LayerNorm(len(norm.weight), eps=norm.eps)
    channel_last.load_state_dict(norm.state_dict())
    return channel_last


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().contiguous(), requires_grad=False)
