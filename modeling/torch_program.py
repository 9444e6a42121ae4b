"""A bundle's image encoder as a program that torch runs without our code: on a GPU, under Triton."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from hilum.errors import BundleError
from modeling.image_encoder import exportable
from modeling.verification import TOLERANCE


def write_torch_program(model: Any, image_size: int, path: Path, *, max_batch_size: int) -> float:
    """Export a model's `image_encoder` with torch.export, for batches of 1 to `max_batch_size`.

    The file holds the operators and the weights in float32, and neither Python code nor pickled values. torch reads it
    back in the version that wrote it and, as far as torch promises, in newer ones.

    Args:
        model: torch module with the part `image_encoder`, (B, 3, S, S) -> (B, C, h, w), in evaluation mode.
        image_size: S, in pixels.
        path: the file to write, ending in .pt2.
        max_batch_size: largest batch.

    Returns:
        Largest difference between the program as read back and the module, relative to the largest value.

    Raises:
        BundleError: the difference is above `verification.TOLERANCE`.
    """
    encoder = exportable(model.image_encoder)
    # Two images and one free size: with one image, torch.export would take the batch size for a constant.
    images = torch.rand(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    batch = torch.export.Dim("batch", min=1, max=max(2, max_batch_size))
    with torch.no_grad():
        program = torch.export.export(encoder, (images,), dynamic_shapes=({0: batch},))
    program.example_inputs = None  # the one thing that would be pickled
    torch.export.save(program, path)
    difference = _difference(encoder, path, images[:1])
    if difference > TOLERANCE:
        raise BundleError(
            f"{path.name} differs from torch by {difference:.1e} of its largest value, not {TOLERANCE:.0e}"
        )
    return difference


def _difference(encoder: nn.Module, path: Path, image: torch.Tensor) -> float:
    with torch.inference_mode():
        expected = encoder(image)
        found = torch.export.load(path).module()(image)
    return float((found - expected).abs().max() / expected.abs().max())
