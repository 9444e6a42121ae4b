"""The image encoders in a form that exports with a free batch dimension."""

from typing import Any

from torch import Tensor, nn


class TinyVitEncoder(nn.Module):
    """LiteMedSAM's encoder, (B, 3, S, S) -> (B, 256, 64, 64).

    The original reads the batch size with `len(x)` between stages, which tracing freezes; here the grid is
    restored before the merging layer sees its tokens. The layers are the original's own.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> Tensor:
        """The image embedding."""
        x: Tensor = self.encoder.patch_embed(image)
        for layer in self.encoder.layers:
            for block in layer.blocks:
                x = block(x)
            if layer.downsample is not None:
                x = layer.downsample(x if x.ndim == 4 else _grid(x, layer.downsample.input_resolution))
        neck: Tensor = self.encoder.neck(_grid(x, self.encoder.layers[-1].blocks[-1].input_resolution))
        return neck


def _grid(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, hw, C) -> (B, C, h, w)."""
    # Not unflatten: tracing would freeze the batch size in it.
    return tokens.transpose(1, 2).reshape(-1, tokens.shape[2], *size)


def exportable(image_encoder: nn.Module) -> nn.Module:
    """The encoder itself, or a form of it whose batch dimension survives tracing."""
    if type(image_encoder).__name__ == "TinyViT":
        return TinyVitEncoder(image_encoder).eval()
    return image_encoder
