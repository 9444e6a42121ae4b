"""SAM's prompt encoder and mask decoder, rewritten for processors: the same function and gradients, less work.

Kirillov et al., "Segment anything", 2023, section A: a two-layer two-way transformer between a handful of tokens
(one for the predicted IoU, four for masks, then the prompt's) and the image embedding's pixels, then an
upscaling head. On the 4096 image tokens of a 64x64 embedding, the published order of operations costs
3.6 GFLOP a prompt; this one 1.6. What changes:

- attention's projections move from the image side to the token side (`modeling.attention`);
- without a mask input, the first layer sees the same image tokens for every prompt: their projections are
  computed once per image (`PreparedImage`), and many prompts read them in one pass (`read`);
- of the last attention only the output tokens are read, so only they attend;
- image tokens stay channel-last, and transposed convolutions become matrix products
  (`modeling.mask_upscaling`).

No approximation: the masks differ from segment-anything's by rounding (tests/congruence).
"""

from typing import Any, NamedTuple

from torch import Tensor, nn

from modeling.attention import ImageToToken, SelfAttention, TokenToImage
from modeling.mask_upscaling import MaskUpscaling
from modeling.prompt_tokens import PromptTokens


class PreparedImage(NamedTuple):
    """What every prompt on one image shares (n = hw image tokens, H heads of width d).

    Attributes:
        image_tokens: (1, n, C), the embedding channel-last, with what stands for "no mask input" added.
        keys: (1, H, d, n), for layer 0's attention from tokens to the image.
        values: (1, H, n, d), for the same.
        queries: (1, H, d, n), for layer 0's attention from the image to tokens.
    """

    image_tokens: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


class ReadPrompts(NamedTuple):
    """B prompts' T tokens once they have read the image, before the image has read them.

    Attributes:
        position: (B, T, C), the tokens as they came from the prompts; every layer adds them again.
        tokens: (B, T, C), after the first layer's attention to the image and its perceptron.
    """

    position: Tensor
    tokens: Tensor


class MaskDecoder(nn.Module):
    """segment-anything's `PromptEncoder` and `MaskDecoder` in one module, sharing their weights.

    It rearranges the weights as they are when it is built: build it anew after they change. Built with gradients on, it
    trains the two modules.

    Args:
        prompt_encoder: segment-anything's, or one with its attributes.
        mask_decoder: segment-anything's, or one with its attributes.
    """

    def __init__(self, prompt_encoder: Any, mask_decoder: Any) -> None:
        super().__init__()
        grid = prompt_encoder.image_embedding_size
        position = prompt_encoder.get_dense_pe().detach()[0].flatten(1).T
        transformer = mask_decoder.transformer
        self.prompt_tokens = PromptTokens(prompt_encoder, mask_decoder)
        self.mask_downscaling = prompt_encoder.mask_downscaling
        self.no_mask = prompt_encoder.no_mask_embed.weight
        self.first_layer = TwoWayLayer(transformer.layers[0], position)
        self.layers = nn.ModuleList(TwoWayLayer(layer, position) for layer in transformer.layers[1:])
        self.last_attention = TokenToImage(transformer.final_attn_token_to_image, position)
        self.last_norm = transformer.norm_final_attn
        self.upscaling = MaskUpscaling(mask_decoder, grid)
        self.iou_head = mask_decoder.iou_prediction_head

    def prepare(self, image_embedding: Tensor) -> PreparedImage:
        """Compute once per image what its prompts share.

        Args:
            image_embedding: (1, C, h, w).
        """
        return self._prepare(image_embedding.flatten(2).transpose(1, 2) + self.no_mask)

    def forward(self, prepared: PreparedImage, point_coords: Tensor, point_labels: Tensor) -> tuple[Tensor, Tensor]:
        """Decode B prompts of N points each.

        Args:
            prepared: from `prepare`.
            point_coords: (B, N, 2), (x, y) in pixels of the model's square input.
            point_labels: (B, N): -1 padding, 0 background, 1 foreground, 2 and 3 a box's corners.

        Returns:
            low_res_masks (B, 4, 4h, 4w), logits, and iou_predictions (B, 4).
        """
        return self.draw(prepared, self.read(prepared, point_coords, point_labels))

    def read(self, prepared: PreparedImage, point_coords: Tensor, point_labels: Tensor) -> ReadPrompts:
        """The first half of `forward`: all of the first layer that the image's tokens do not change in.

        What it reads of the image is the same for every prompt, so that many prompts cost little more than one.
        """
        position = self.prompt_tokens(point_coords, point_labels)
        return ReadPrompts(position, self.first_layer.read(position, prepared))

    def draw(self, prepared: PreparedImage, prompts: ReadPrompts) -> tuple[Tensor, Tensor]:
        """The second half of `forward`: from here on, each prompt has image tokens of its own."""
        position, tokens = prompts
        image_tokens = self.first_layer.write(tokens, position, prepared)
        for layer in self.layers:
            tokens, image_tokens = layer(tokens, position, image_tokens)
        outputs = 1 + self.upscaling.masks
        tokens = tokens[:, :outputs]
        tokens = self.last_norm(tokens + self.last_attention(tokens + position[:, :outputs], image_tokens))
        return self.upscaling(image_tokens, tokens[:, 1:]), self.iou_head(tokens[:, 0])

    def with_mask(
        self, image_tokens: Tensor, point_coords: Tensor, point_labels: Tensor, mask_input: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode B prompts that come with a mask, logits (B, 1, 4h, 4w), such as an earlier answer's.

        The mask's embedding replaces `no_mask` in the image tokens, so that nothing is shared between prompts.
        """
        mask_tokens = self.mask_downscaling(mask_input).flatten(2).transpose(1, 2)
        prepared = self._prepare(image_tokens + (mask_tokens - self.no_mask))
        return self.forward(prepared, point_coords, point_labels)

    def _prepare(self, image_tokens: Tensor) -> PreparedImage:
        keys, values = self.first_layer.to_image.prepare(image_tokens)
        return PreparedImage(image_tokens, keys, values, self.first_layer.to_tokens.prepare(image_tokens))


class TwoWayLayer(nn.Module):
    """One layer of the two-way transformer: tokens to tokens, to image, perceptron, image to tokens."""

    def __init__(self, layer: Any, position: Tensor) -> None:
        super().__init__()
        self.self_attention = SelfAttention(layer.self_attn)
        self.to_image = TokenToImage(layer.cross_attn_token_to_image, position)
        self.to_tokens = ImageToToken(layer.cross_attn_image_to_token, position)
        self.mlp = layer.mlp
        self.norm1, self.norm2, self.norm3, self.norm4 = layer.norm1, layer.norm2, layer.norm3, layer.norm4

    def read(self, position: Tensor, prepared: PreparedImage) -> Tensor:
        """The first layer up to its perceptron: the tokens are their own positions, the image is a prepared one."""
        tokens = self.norm1(self.self_attention(position, position))
        update = self.to_image.prepared(tokens + position, prepared.keys, prepared.values)
        return self._perceive(tokens + update)

    def write(self, tokens: Tensor, position: Tensor, prepared: PreparedImage) -> Tensor:
        """The first layer's rest: image tokens (B, n, C) of the prompts that `read` answered."""
        update = self.to_tokens.prepared(tokens + position, tokens, prepared.queries)
        image_tokens: Tensor = self.norm4(prepared.image_tokens + update)
        return image_tokens

    def forward(self, tokens: Tensor, position: Tensor, image_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Any later layer: (B, T, C), (B, T, C), (B, n, C) -> new tokens and image tokens."""
        tokens = self.norm1(tokens + self.self_attention(tokens + position, tokens))
        tokens = self._perceive(tokens + self.to_image(tokens + position, image_tokens))
        image_update = self.to_tokens(tokens + position, tokens, image_tokens)
        return tokens, self.norm4(image_tokens + image_update)

    def _perceive(self, attended: Tensor) -> Tensor:
        tokens = self.norm2(attended)
        answer: Tensor = self.norm3(tokens + self.mlp(tokens))
        return answer
