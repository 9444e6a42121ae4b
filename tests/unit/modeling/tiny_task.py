"""A task small enough to be learnt in a test: bright discs on noise, a SAM of a few thousand weights."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.types import BoolMask
from modeling.segment_anything_modules import MaskDecoder, PromptEncoder, TwoWayTransformer
from modeling.training_set import TrainingImage, TrainingSet

SIDE, GRID, CHANNELS = 64, 16, 32


class TinySam(nn.Module):
    """An encoder of one attention-like layer, and SAM's prompt encoder and mask decoder, narrow."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = TinyEncoder()
        self.prompt_encoder = PromptEncoder(CHANNELS, (GRID, GRID), (SIDE, SIDE), mask_in_chans=4)
        transformer = TwoWayTransformer(depth=2, embedding_dim=CHANNELS, num_heads=4, mlp_dim=64)
        self.mask_decoder = MaskDecoder(
            transformer_dim=CHANNELS, transformer=transformer, iou_head_depth=2, iou_head_hidden_dim=32
        )


class TinyEncoder(nn.Module):
    """Patches of 4 x 4 pixels, each projected: (1, 3, S, S) to (1, C, S / 4, S / 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(48, CHANNELS)

    def forward(self, image: Tensor) -> Tensor:
        patches = nn.functional.pixel_unshuffle(image, 4).permute(0, 2, 3, 1)
        embedding: Tensor = self.qkv(patches).permute(0, 3, 1, 2)
        return embedding


def tiny_sam(seed: int = 0) -> nn.Module:
    """The model with weights drawn from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: nn.Module = TinySam().eval()
    return model


def network_input(image: TrainingImage) -> NDArray[np.float32]:
    """(1, 3, S, S), the grey picture in three channels, at the top left of the canvas."""
    height, width = image.input_size
    planes = np.zeros((1, 3, SIDE, SIDE), np.float32)
    planes[..., :height, :width] = cv2.resize(image.image, (width, height)).astype(np.float32) / 255
    return planes


def write_discs(model: nn.Module, folder: Path, count: int = 12) -> TrainingSet:
    """Pictures with two bright discs each, as training images of a model's encoder."""
    encoder: Any = model.image_encoder
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        masks = [_disc(centre, random.uniform(6, 10)) for centre in ((18, random.uniform(18, 46)), (46, 32))]
        picture = random.integers(0, 60, (SIDE, SIDE)).astype(np.uint8)
        for mask in masks:
            picture[mask] += 150
        image = TrainingImage(
            picture, np.zeros(0, np.float16), np.stack(masks), np.ones(2, np.bool_), (SIDE, SIDE), "discs"
        )
        with torch.no_grad():
            embedding = encoder(torch.from_numpy(network_input(image))).numpy().astype(np.float16)
        path = folder / f"{number:02d}.npz"
        np.savez(
            path,
            image=picture,
            embedding=embedding,
            masks=np.packbits(image.masks),
            side=SIDE,
            labelled=image.labelled,
            input_size=np.array(image.input_size),
            source=image.source,
        )
        paths.append(path)
    return TrainingSet(paths)


def _disc(centre: tuple[float, float], radius: float) -> BoolMask:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    disc: BoolMask = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 <= radius**2
    return disc
