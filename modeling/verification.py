"""A bundle's graphs compared with the torch modules they come from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.errors import BundleError

# Largest difference accepted, relative to the largest value of the answer.
TOLERANCE = 1e-4

Arrays = Mapping[str, NDArray[Any]]


def largest_differences(model: nn.Module, folder: Path, image_size: int) -> dict[str, float]:
    """Largest difference between each graph in `folder` and the model's own modules.

    The input is a random image (fixed seed); the prompt one box with a foreground and a background point. The
    differences are relative to the largest value: of the embedding for `image_encoder`, of the low-resolution
    logits for `mask_decoder` and `mask_decoder_with_mask` (`mask_decoder_image` feeds both,
    `mask_decoder_prompts` the first).
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, image_size, image_size, generator=generator)
    box = torch.tensor([[0.2, 0.3, 0.7, 0.8]]) * image_size
    points = torch.tensor([[[0.4, 0.5], [0.9, 0.1]]]) * image_size
    labels = torch.tensor([[1.0, 0.0]])
    modules: Any = model
    with torch.inference_mode():
        embedding = modules.image_encoder(image)
        height, width = modules.prompt_encoder.image_embedding_size
        mask_input = torch.randn(1, 1, 4 * height, 4 * width, generator=generator)
        without_mask = _masks(modules, embedding, (points, labels), box, None)
        with_mask = _masks(modules, embedding, (points, labels), box, mask_input)
    prompt = {
        "point_coords": torch.cat([points, box.reshape(1, 2, 2)], 1).numpy(),
        "point_labels": torch.cat([labels, torch.tensor([[2.0, 3.0]])], 1).numpy(),
    }
    prepared = _run(folder, "mask_decoder_image", {"image_embedding": embedding.numpy()})
    read = _run(folder, "mask_decoder_prompts", prompt | prepared)
    answers = {
        "image_encoder": (embedding, _run(folder, "image_encoder", {"image": image.numpy()})["image_embedding"]),
        "mask_decoder": (without_mask, _run(folder, "mask_decoder", read | prepared)["low_res_masks"]),
        "mask_decoder_with_mask": (
            with_mask,
            _run(folder, "mask_decoder_with_mask", prompt | prepared | {"mask_input": mask_input.numpy()})[
                "low_res_masks"
            ],
        ),
    }
    return {role: _relative_difference(expected.numpy(), found) for role, (expected, found) in answers.items()}


def check(differences: Mapping[str, float]) -> None:
    """Refuse graphs that differ too much.

    Raises:
        BundleError: a difference is above `TOLERANCE`, or not a number.
    """
    for role, difference in differences.items():
        if not difference <= TOLERANCE:
            raise BundleError(f"graph {role} differs from its torch modules by {difference:.1e}, above {TOLERANCE:.0e}")


def _masks(
    modules: Any, embedding: Tensor, points: tuple[Tensor, Tensor], box: Tensor, mask_input: Tensor | None
) -> Tensor:
    """All four masks' low-resolution logits from segment-anything's own modules."""
    sparse, dense = modules.prompt_encoder(points, box, mask_input)
    position = modules.prompt_encoder.get_dense_pe()
    masks: Tensor = modules.mask_decoder.predict_masks(embedding, position, sparse, dense)[0]
    return masks


def _run(folder: Path, role: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
    session = onnxruntime.InferenceSession(folder / f"{role}.onnx", providers=["CPUExecutionProvider"])
    wanted = {node.name: inputs[node.name] for node in session.get_inputs()}
    names = [node.name for node in session.get_outputs()]
    return dict(zip(names, session.run(names, wanted), strict=True))


def _relative_difference(expected: NDArray[Any], found: NDArray[Any]) -> float:
    return float(np.abs(expected - found).max() / np.abs(expected).max())
