"""modeling.mask_upscaling against segment-anything's transposed convolutions and hypernetworks."""

from typing import Any

import torch

from modeling.mask_upscaling import MaskUpscaling
from tests.congruence.oracle import random_sam


@torch.inference_mode()
def test_upscaling_by_rows_is_segment_anythings() -> None:
    """Every pixel of every mask lies where two transposed convolutions put it."""
    decoder: Any = random_sam().mask_decoder
    height, width = 5, 7
    image_tokens, mask_tokens = torch.randn(2, height * width, 256), torch.randn(2, 4, 256)

    grid = image_tokens.transpose(1, 2).reshape(2, 256, height, width)
    hyper = torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1)
    expected = torch.einsum("bmc,bchw->bmhw", hyper, decoder.output_upscaling(grid))

    found = MaskUpscaling(decoder, (height, width))(image_tokens, mask_tokens)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
