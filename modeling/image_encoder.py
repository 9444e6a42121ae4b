"""The image encoders as they are exported: with a free batch dimension, and TinyViT arranged for a CPU runtime."""

from typing import Any

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
        self.window: int = block.window_size
        self.attention = WindowAttention(block.attn)
        self.out = block.attn.proj
        self.local_conv = block.local_conv
        self.mlp = block.mlp

    def forward(self, grid: Tensor) -> Tensor:
        """The next grid."""
        channels = grid.shape[-1]
        attended = self._grid_of_windows(self.attention(self._windows(grid)))
        grid = grid + self.out(attended.reshape(-1, channels)).reshape(-1, *self.size, channels)
        grid = self.local_conv(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        tokens = self.mlp.norm(grid.reshape(-1, channels))
        perceived: Tensor = self.mlp.fc2(F.gelu(self.mlp.fc1(tokens)))
        return grid + perceived.reshape(-1, *self.size, channels)

    def _windows(self, grid: Tensor) -> Tensor:
        """Windows (B n, w w, C) of a grid, which is padded with zeros to whole windows, right and below."""
        (rows, below), (columns, right) = (_whole(length, self.window) for length in self.size)
        side, channels = self.window, grid.shape[-1]
        padded = F.pad(grid, (0, 0, 0, right, 0, below))
        windows = padded.reshape(-1, rows, side, columns, side, channels).transpose(2, 3)
        return windows.reshape(-1, side * side, channels)

    def _grid_of_windows(self, windows: Tensor) -> Tensor:
        """The grid of windows (B n, w w, C), without the padding."""
        (rows, _), (columns, _) = (_whole(length, self.window) for length in self.size)
        side, channels = self.window, windows.shape[-1]
        grid = windows.reshape(-1, rows, columns, side, side, channels).transpose(2, 3)
        grid = grid.reshape(-1, rows * side, columns * side, channels)
        return grid[:, : self.size[0], : self.size[1]]


def _whole(length: int, window: int) -> tuple[int, int]:
    """How many windows cover a length, and how much they exceed it."""
    count = -(-length // window)
    return count, count * window - length


class WindowAttention(nn.Module):
    """Attention within windows of n tokens, up to its output projection, which need not see the padding.

    The original's one projection to queries, keys and values interleaves them by head; here each is a product of
    its own, which spares splitting the result, and the queries' scale is folded into their weights.
    """

    position_bias: Tensor

    def __init__(self, attention: Any) -> None:
        super().__init__()
        heads, width = attention.num_heads, attention.key_dim
        weight = attention.qkv.weight.detach().unflatten(0, (heads, 3, width))
        bias = attention.qkv.bias.detach().unflatten(0, (heads, 3, width))
        self.heads = heads
        self.norm = attention.norm
        scales = (attention.scale, 1.0, 1.0)
        self.weights = nn.ParameterList(_frozen(weight[:, i].flatten(0, 1) * scale) for i, scale in enumerate(scales))
        self.biases = nn.ParameterList(_frozen(bias[:, i].flatten() * scale) for i, scale in enumerate(scales))
        position_bias = attention.attention_biases[:, attention.attention_bias_idxs]
        self.register_buffer("position_bias", position_bias.detach())

    def forward(self, windows: Tensor) -> Tensor:
        """(B, n, C) -> (B, n, C)."""
        _, count, channels = windows.shape
        tokens = self.norm(windows.reshape(-1, channels))
        queries, keys, values = (
            F.linear(tokens, weight, bias).reshape(-1, count, self.heads, channels // self.heads)
            for weight, bias in zip(self.weights, self.biases, strict=True)
        )
        logits = queries.transpose(1, 2) @ keys.permute(0, 2, 3, 1) + self.position_bias
        return (logits.softmax(-1) @ values.transpose(1, 2)).transpose(1, 2).reshape(-1, count, channels)


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
