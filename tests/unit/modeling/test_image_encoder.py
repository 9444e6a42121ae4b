"""modeling.image_encoder: the exportable form of an encoder."""

from typing import Any

import torch

from modeling.image_encoder import exportable
from tests.congruence.oracle import lite_medsam, random_sam


@torch.inference_mode()
def test_the_exportable_tiny_vit_is_the_original() -> None:
    """The form that is exported answers as the original does, for one image or several."""
    model: Any = lite_medsam()
    images = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(exportable(model.image_encoder)(images), model.image_encoder(images), rtol=0, atol=1e-5)


def test_an_encoder_that_exports_as_it_is_stays_as_it_is() -> None:
    """segment-anything's own encoder needs no other form."""
    model: Any = random_sam()
    assert exportable(model.image_encoder) is model.image_encoder
