"""modeling.prompt_tokens against segment-anything's prompt encoder."""

from typing import Any

import torch

from modeling.prompt_tokens import PromptTokens
from tests.congruence.oracle import random_sam


@torch.inference_mode()
def test_tokens_are_the_output_tokens_then_segment_anythings_prompt_tokens() -> None:
    """Points, padding and a box's corners become segment-anything's embeddings, in its order."""
    model: Any = random_sam()
    points, labels = torch.tensor([[[3.0, 250.5], [100.0, 20.0]]]), torch.tensor([[1.0, 0.0]])
    box = torch.tensor([[10.0, 20.0, 200.0, 230.0]])
    output_tokens = torch.cat([model.mask_decoder.iou_token.weight, model.mask_decoder.mask_tokens.weight])[None]
    tokens = PromptTokens(model.prompt_encoder, model.mask_decoder)

    with_box, _ = model.prompt_encoder((points, labels), box, None)
    found = tokens(torch.cat([points, box.reshape(1, 2, 2)], 1), torch.tensor([[1.0, 0.0, 2.0, 3.0]]))
    torch.testing.assert_close(found, torch.cat([output_tokens, with_box], 1), rtol=0, atol=2e-5)

    padded, _ = model.prompt_encoder((points, labels), None, None)
    found = tokens(torch.cat([points, torch.zeros(1, 1, 2)], 1), torch.tensor([[1.0, 0.0, -1.0]]))
    torch.testing.assert_close(found, torch.cat([output_tokens, padded], 1), rtol=0, atol=2e-5)


@torch.inference_mode()
def test_a_prompt_without_points_has_the_output_tokens_only() -> None:
    """A mask input alone brings no token of its own."""
    model: Any = random_sam()
    tokens = PromptTokens(model.prompt_encoder, model.mask_decoder)(torch.zeros(2, 0, 2), torch.zeros(2, 0))
    assert tokens.shape == (2, 5, 256)
