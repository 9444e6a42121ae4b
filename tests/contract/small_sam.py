"""A segment-anything model that is small and randomly initialised: everything of it but what it has learnt."""

from functools import partial
from pathlib import Path

import torch
from torch import nn

from hilum.serving.bundle import Bundle
from modeling.bundle_writer import write_bundle
from modeling.catalogue import ALL_PROMPTS, IMAGENET, ModelSpec
from modeling.segment_anything_modules import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

SIDE = 128
CHANNELS = 64
SPEC = ModelSpec("small-sam", "sam-vit-b", SIDE, IMAGENET, ALL_PROMPTS, "Apache-2.0", "random weights, for tests")


def small_sam(seed: int = 0) -> nn.Module:
    """Returns the model: 128 x 128 input, embeddings (64, 8, 8), low-resolution masks 32 x 32."""
    grid = (SIDE // 16, SIDE // 16)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Sam(
            image_encoder=ImageEncoderViT(
                img_size=SIDE,
                patch_size=16,
                embed_dim=CHANNELS,
                depth=2,
                num_heads=2,
                out_chans=CHANNELS,
                use_rel_pos=True,
                window_size=4,
                global_attn_indexes=(1,),
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
            ),
            prompt_encoder=PromptEncoder(
                embed_dim=CHANNELS, image_embedding_size=grid, input_image_size=(SIDE, SIDE), mask_in_chans=16
            ),
            mask_decoder=MaskDecoder(
                num_multimask_outputs=3,
                transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, mlp_dim=128, num_heads=4),
                transformer_dim=CHANNELS,
                iou_head_depth=3,
                iou_head_hidden_dim=CHANNELS,
            ),
            pixel_mean=list(IMAGENET.mean or ()),
            pixel_std=list(IMAGENET.std or ()),
        )
    # Fresh networks answer with logits near 0 everywhere; larger ones give masks that have an inside and an outside.
    for network in model.mask_decoder.output_hypernetworks_mlps:
        nn.init.normal_(network.layers[-1].weight, std=2.0)
    evaluated: nn.Module = model.eval()
    return evaluated


def small_sam_bundle(folder: Path) -> Bundle:
    """Writes and returns its bundle."""
    return write_bundle(small_sam(), SPEC, folder / SPEC.name).bundle
