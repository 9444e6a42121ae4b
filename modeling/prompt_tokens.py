"""Prompts as tokens: SAM's prompt encoder for points and boxes, as one table look-up."""

import math
from typing import Any

import torch
from torch import Tensor, nn


class PromptTokens(nn.Module):
    """The decoder's input tokens: its own output tokens, then one token per point.

    A point (x, y), in pixels of the model's square input, is moved to the pixel's centre, scaled to [-1, 1]
    and encoded as p = [sin 2πGx, cos 2πGx] with SAM's fixed Gaussian matrix G (Tancik et al., "Fourier features
    let networks learn high frequency functions", 2020). Its label picks a learned row of a table:
    token = table[label] + (label >= 0) p, with the rows -1 padding, 0 background, 1 foreground, 2 a box's top
    left corner, 3 its bottom right corner.
    """

    scale: Tensor
    frequencies: Tensor
    label_table: Tensor
    output_tokens: Tensor

    def __init__(self, prompt_encoder: Any, mask_decoder: Any) -> None:
        super().__init__()
        height, width = prompt_encoder.input_image_size
        learned = [prompt_encoder.not_a_point_embed, *prompt_encoder.point_embeddings]
        self.register_buffer("scale", mask_decoder.iou_token.weight.new_tensor([2 / width, 2 / height]))
        self.register_buffer("frequencies", 2 * math.pi * prompt_encoder.pe_layer.positional_encoding_gaussian_matrix)
        self.register_buffer("label_table", torch.cat([embedding.weight for embedding in learned]))
        output_tokens = [mask_decoder.iou_token.weight, mask_decoder.mask_tokens.weight]
        self.register_buffer("output_tokens", torch.cat(output_tokens)[None])

    def forward(self, point_coords: Tensor, point_labels: Tensor) -> Tensor:
        """Tokens (B, 5 + N, C) of points (B, N, 2) in model input pixels with labels (B, N) from -1 to 3."""
        angles = ((point_coords + 0.5) * self.scale - 1) @ self.frequencies
        position = torch.cat([angles.sin(), angles.cos()], dim=-1)
        is_point = (point_labels >= 0).to(position.dtype)[..., None]
        prompt_tokens = self.label_table[point_labels.long() + 1] + is_point * position
        output_tokens = self.output_tokens.expand(point_coords.shape[0], -1, -1)
        return torch.cat([output_tokens, prompt_tokens], dim=1)
