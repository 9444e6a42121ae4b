"""SAM's mask decoder, rewritten for inference on CPU: the same function, less work."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from modeling.prompt_tokens import PromptTokens


class PreparedImage(NamedTuple):
    """What every prompt on one image shares.

    image_tokens (1, hw, C): the image embedding without a mask's, channel-last.
    unmasked_tokens (1, hw, C): with the embedding that stands for "no mask input".
    keys, values, queries: layer 0's projections of them, (1, H, hw, d).
    """

    image_tokens: Tensor
    unmasked_tokens: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


class Projection(nn.Module):
    """An attention layer's four projections by head: q, k, v (H, C, d), out (H, d, C)."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.scale = 1 / math.sqrt(attention.internal_dim // attention.num_heads)
        for name in ("q", "k", "v"):
            linear = getattr(attention, f"{name}_proj")
            self.register_buffer(name, self._by_head(linear.weight.detach()))
            self.register_buffer(f"{name}_bias", self._by_head(linear.bias.detach()[:, None]))
        out = attention.out_proj.weight.detach()
        self.register_buffer("out", out.T.reshape(self.heads, -1, out.shape[0]).contiguous())
        self.register_buffer("out_bias", attention.out_proj.bias.detach())

    def _by_head(self, weight: Tensor) -> Tensor:
        return weight.reshape(self.heads, -1, weight.shape[1]).transpose(1, 2).contiguous()

    def project(self, tokens: Tensor, name: str) -> Tensor:
        """(B, T, C) -> (B, H, T, d)."""
        return tokens[:, None] @ getattr(self, name) + getattr(self, f"{name}_bias")

    def merge(self, heads: Tensor) -> Tensor:
        """(B, H, T, d) -> (B, T, C)."""
        return (heads @ self.out).sum(1) + self.out_bias


class ImageSide(nn.Module):
    """Once per image."""

    def __init__(self, prompt_encoder: Any, mask_decoder: Any) -> None:
        super().__init__()
        layer = mask_decoder.transformer.layers[0]
        self.to_image = Projection(layer.cross_attn_token_to_image)
        self.to_tokens = Projection(layer.cross_attn_image_to_token)
        position = prompt_encoder.get_dense_pe().detach().flatten(2).transpose(1, 2)
        self.register_buffer("position", position.contiguous())
        self.register_buffer("no_mask", prompt_encoder.no_mask_embed.weight.detach())

    def layer0(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        positioned = tokens + self.position
        return (
            self.to_image.project(positioned, "k"),
            self.to_image.project(tokens, "v"),
            self.to_tokens.project(positioned, "q"),
        )

    def forward(self, image_embedding: Tensor) -> PreparedImage:
        image_tokens = image_embedding.flatten(2).transpose(1, 2)
        unmasked = image_tokens + self.no_mask
        return PreparedImage(image_tokens, unmasked, *self.layer0(unmasked))


class MaskDecoder(nn.Module):
    """Prompts on a prepared image to masks."""

    def __init__(self, prompt_encoder: Any, mask_decoder: Any) -> None:
        super().__init__()
        self.image_side = ImageSide(prompt_encoder, mask_decoder)
        self.prompt_tokens = PromptTokens(prompt_encoder, mask_decoder)
        self.mask_downscaling = prompt_encoder.mask_downscaling
        self.transformer = mask_decoder.transformer
        layers = self.transformer.layers
        self.self_attentions = nn.ModuleList(Projection(layer.self_attn) for layer in layers)
        self.to_image = nn.ModuleList(Projection(layer.cross_attn_token_to_image) for layer in layers)
        self.to_tokens = nn.ModuleList(Projection(layer.cross_attn_image_to_token) for layer in layers)
        self.final = Projection(self.transformer.final_attn_token_to_image)
        self.grid: tuple[int, int] = prompt_encoder.image_embedding_size
        self.mask_decoder = mask_decoder

    def forward(
        self, prepared: PreparedImage, point_coords: Tensor, point_labels: Tensor, mask_input: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """low_res_masks (B, 4, 4h, 4w) and iou_predictions (B, 4)."""
        position = self.prompt_tokens(point_coords, point_labels)
        if mask_input is not None:
            dense = self.mask_downscaling(mask_input).flatten(2).transpose(1, 2)
            image = prepared.image_tokens + dense
            keys, values, queries = self.image_side.layer0(image)
        else:
            image, keys, values, queries = prepared[1:]
        tokens = position
        for index, layer in enumerate(self.transformer.layers):
            tokens = self._self_attend(index, tokens, position)
            tokens = layer.norm1(tokens)
            q = self.to_image[index].project(tokens + position, "q") * self.to_image[index].scale
            if index == 0:
                attended = (q @ keys.transpose(2, 3)).softmax(-1) @ values
                update = self.to_image[index].merge(attended)
            else:
                positioned = image + self.image_side.position
                update = self._attend_image(self.to_image[index], q, positioned, image)
            tokens = layer.norm2(tokens + update)
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            to_tokens = self.to_tokens[index]
            k = to_tokens.project(tokens + position, "k") * to_tokens.scale
            v = to_tokens.project(tokens, "v") @ to_tokens.out
            if index == 0:
                logits = k @ queries.transpose(2, 3)
            else:
                absorbed = (k @ to_tokens.q.transpose(1, 2)).flatten(1, 2)
                constant = k @ to_tokens.q_bias.transpose(1, 2)
                logits = (absorbed @ positioned.transpose(1, 2)).unflatten(1, k.shape[1:3]) + constant
            weights = logits.softmax(2).flatten(1, 2)
            image = image + weights.transpose(1, 2) @ v.flatten(1, 2) + to_tokens.out_bias
            image = layer.norm4(image)
        q = self.final.project(tokens + position, "q") * self.final.scale
        update = self._attend_image(self.final, q, image + self.image_side.position, image)
        tokens = self.transformer.norm_final_attn(tokens + update)
        return self._masks(tokens, image)

    def _self_attend(self, index: int, tokens: Tensor, position: Tensor) -> Tensor:
        attention = self.self_attentions[index]
        source = tokens if index == 0 else tokens + position
        q, k = attention.project(source, "q") * attention.scale, attention.project(source, "k")
        update = attention.merge((q @ k.transpose(2, 3)).softmax(-1) @ attention.project(tokens, "v"))
        return update if index == 0 else tokens + update

    def _attend_image(self, attention: Any, q: Tensor, positioned: Tensor, image: Tensor) -> Tensor:
        absorbed = (q @ attention.k.transpose(1, 2)).flatten(1, 2)
        weights = (absorbed @ positioned.transpose(1, 2)).softmax(-1)
        attended = (weights @ image).unflatten(1, q.shape[1:3])
        return attention.merge(attended @ attention.v + attention.v_bias)

    def _masks(self, tokens: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        grid = image.transpose(1, 2).unflatten(2, self.grid)
        upscaled = self.mask_decoder.output_upscaling(grid).flatten(2)
        hyper = torch.stack(
            [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.mask_decoder.output_hypernetworks_mlps)], 1
        )
        masks = (hyper @ upscaled).unflatten(2, (4 * self.grid[0], 4 * self.grid[1]))
        return masks, self.mask_decoder.iou_prediction_head(tokens[:, 0])
