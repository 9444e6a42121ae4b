"""modeling.attention: each rearranged layer against segment-anything's."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modeling.attention import ImageToToken, SelfAttention, TokenToImage, softmax_over_tokens
from modeling.segment_anything_modules import TwoWayTransformer

TOKENS, IMAGE_TOKENS, CHANNELS = 6, 48, 64


@pytest.fixture
def layer() -> Any:
    """A layer of segment-anything's transformer with every parameter drawn, biases included."""
    torch.manual_seed(0)
    transformer = TwoWayTransformer(depth=1, embedding_dim=CHANNELS, num_heads=8, mlp_dim=32)
    for parameter in transformer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return transformer.layers[0]


def _tokens(count: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, count, CHANNELS)


def _close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@torch.inference_mode()
def test_self_attention_is_segment_anythings(layer: Any) -> None:
    """Queries and keys come from one set of tokens, values from the other."""
    positioned, tokens = _tokens(TOKENS), _tokens(TOKENS)
    expected = layer.self_attn(q=positioned, k=positioned, v=tokens)
    _close(SelfAttention(layer.self_attn)(positioned, tokens), expected)


@torch.inference_mode()
def test_tokens_attend_to_the_image_as_in_segment_anything(layer: Any) -> None:
    """Absorbing the projections into the tokens changes nothing."""
    position, tokens, image = _tokens(IMAGE_TOKENS, 1)[0], _tokens(TOKENS), _tokens(IMAGE_TOKENS)
    attention = layer.cross_attn_token_to_image
    expected = attention(q=tokens, k=image + position, v=image)
    _close(TokenToImage(attention, position)(tokens, image), expected)


@torch.inference_mode()
def test_tokens_attend_to_a_prepared_image_alike(layer: Any) -> None:
    """Keys and values prepared once per image give every prompt the same update."""
    position, tokens, image = _tokens(IMAGE_TOKENS, 1)[0], _tokens(TOKENS), _tokens(IMAGE_TOKENS, 1)
    attention = layer.cross_attn_token_to_image
    rearranged = TokenToImage(attention, position)
    shared = image.expand(2, -1, -1)
    expected = attention(q=tokens, k=shared + position, v=shared)
    _close(rearranged.prepared(tokens, *rearranged.prepare(image)), expected)


@torch.inference_mode()
def test_the_image_attends_to_tokens_as_in_segment_anything(layer: Any) -> None:
    """Absorbing query and output projections, bias included, changes nothing."""
    position, image = _tokens(IMAGE_TOKENS, 1)[0], _tokens(IMAGE_TOKENS)
    positioned, tokens = _tokens(TOKENS), _tokens(TOKENS)
    attention = layer.cross_attn_image_to_token
    expected = attention(q=image + position, k=positioned, v=tokens)
    _close(ImageToToken(attention, position)(positioned, tokens, image), expected)


@torch.inference_mode()
def test_a_prepared_image_attends_to_tokens_alike(layer: Any) -> None:
    """Queries prepared once per image give every prompt the same update."""
    position, image = _tokens(IMAGE_TOKENS, 1)[0], _tokens(IMAGE_TOKENS, 1)
    positioned, tokens = _tokens(TOKENS), _tokens(TOKENS)
    attention = layer.cross_attn_image_to_token
    rearranged = ImageToToken(attention, position)
    expected = attention(q=image.expand(2, -1, -1) + position, k=positioned, v=tokens)
    _close(rearranged.prepared(positioned, tokens, rearranged.prepare(image)), expected)


def test_softmax_over_tokens_is_stable() -> None:
    """Logits of any size give weights that sum to one along the tokens."""
    logits = torch.tensor([1e4, 0.0, -1e4, 1e4]).reshape(1, 1, 4, 1)
    torch.testing.assert_close(softmax_over_tokens(logits), logits.softmax(2))
