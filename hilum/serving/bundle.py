"""Model bundles: a folder with a manifest, the weights and the graphs a service runs.

A bundle is written by `python -m modeling install` and read here, without torch. Nothing in it is code:
JSON, safetensors and ONNX only.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import platformdirs

from hilum.errors import BundleError
from hilum.serving.calibration import ScoreCalibration, is_modality

FORMAT_VERSION = 2
MANIFEST_FILENAME = "manifest.json"
# Raised by whoever changes what reaches the image encoder, or what is done with the mask decoder's output.
# Both enter the revisions below, so that no cached embedding outlives a change of meaning.
PREPROCESSING_VERSION = "1"
POSTPROCESSING_VERSION = "1"


class BundleFormatError(BundleError):
    """A bundle that another version of Hilum wrote, in a format this one does not read."""


@dataclass(frozen=True)
class Normalisation:
    """How decoded intensities become the encoder's input.

    `min_max` scales each image's own minimum and maximum to [0, 1]; `mean_std` takes intensities in [0, 255],
    subtracts `mean` and divides by `std`, channel by channel (RGB). Padding is zero *after* normalisation.
    """

    kind: Literal["min_max", "mean_std"]
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class PromptKinds:
    """The kinds of prompt the weights were trained on; a decoder refuses the others with a reason.

    Attributes:
        points: points, without or with a box.
        box: a box.
        mask_input: logits of an earlier answer.
        single_click: mask 0 learnt what one click most likely means, so that it is the first choice; without, as with
            segment-anything's own weights, that is the best scored of masks 1 to 3.
    """

    points: bool
    box: bool
    mask_input: bool
    single_click: bool = False


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says.

    Attributes:
        format_version: version of this schema.
        name: bundle name, also the folder's.
        architecture: e.g. `lite-medsam`, `sam-vit-b`.
        encoder_revision: SHA-256 (hex) of the image encoder's weights and `PREPROCESSING_VERSION`.
        decoder_revision: SHA-256 (hex) of the prompt encoder's and mask decoder's weights and
            `POSTPROCESSING_VERSION`.
        image_size: side of the square encoder input in pixels.
        normalisation: see `Normalisation`.
        resize: always `longest_side_pad_right_bottom`: the longest side is resized to `image_size`, the rest
            of the square, right and bottom, is zero after normalisation.
        embedding_shape: (channels, height, width) of one image embedding.
        low_res_mask_size: side of the square low-resolution logits in pixels (4 x embedding height).
        mask_threshold: logits above it are inside the mask.
        prompts: see `PromptKinds`.
        licence: SPDX identifier of the weights' licence.
        source: where the weights come from, in words.
        created_with: versions of the packages that wrote the graphs.
        files: SHA-256 (hex) by file name, for every file but the manifest.
        graphs: ONNX file name by role: image_encoder, mask_decoder_image, mask_decoder_prompts, mask_decoder,
            mask_decoder_with_mask.
        weights: name of the safetensors file.
        calibration: what the model's score is worth, by DICOM modality ("CT", "MR", ...); modalities that are not
            named have not been measured.
        lineage: where fine-tuned weights come from (base revision, data digests, recipe, metrics) as a JSON object;
            empty for weights as they were published.
    """

    format_version: int
    name: str
    architecture: str
    encoder_revision: str
    decoder_revision: str
    image_size: int
    normalisation: Normalisation
    resize: Literal["longest_side_pad_right_bottom"]
    embedding_shape: tuple[int, int, int]
    low_res_mask_size: int
    mask_threshold: float
    prompts: PromptKinds
    licence: str
    source: str
    created_with: Mapping[str, str]
    files: Mapping[str, str]
    graphs: Mapping[str, str]
    weights: str
    calibration: Mapping[str, ScoreCalibration] = field(default_factory=lambda: MappingProxyType({}))
    lineage: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        unknown = [name for name in self.calibration if not is_modality(name)]
        if unknown:
            raise BundleError(f"calibration: {unknown[0]!r} is no DICOM modality such as CT")

    def to_json(self) -> str:
        """The manifest as indented JSON text."""
        plain = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        plain["normalisation"] = {k: v for k, v in vars(self.normalisation).items() if v is not None}
        plain["prompts"] = vars(self.prompts)
        for name in ("created_with", "files", "graphs", "lineage"):
            plain[name] = dict(plain[name])
        plain["calibration"] = {name: measured.to_plain() for name, measured in self.calibration.items()}
        return json.dumps(plain, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse `to_json`'s text.

        Raises:
            BundleFormatError: another format version.
            BundleError: not JSON, a field is missing or unknown, or a calibration is none.
        """
        try:
            plain: dict[str, Any] = json.loads(text)
            version = plain["format_version"]
            if version == FORMAT_VERSION:
                return cls(**_typed(plain))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BundleError(f"{MANIFEST_FILENAME} is not readable ({error}); install the bundle again") from error
        raise BundleFormatError(
            f"{MANIFEST_FILENAME} has format version {version}, this version of Hilum reads {FORMAT_VERSION}; "
            "install the bundle again"
        )


def _typed(plain: dict[str, Any]) -> dict[str, Any]:
    """The JSON values in the manifest's own types."""
    stated = plain["normalisation"]
    mean, std = (tuple(stated[name]) if name in stated else None for name in ("mean", "std"))
    channels, height, width = plain["embedding_shape"]
    return plain | {
        "normalisation": Normalisation(stated["kind"], mean, std),
        "prompts": PromptKinds(**plain["prompts"]),
        "embedding_shape": (int(channels), int(height), int(width)),
        "created_with": MappingProxyType(dict(plain["created_with"])),
        "files": MappingProxyType(dict(plain["files"])),
        "graphs": MappingProxyType(dict(plain["graphs"])),
        "calibration": MappingProxyType(
            {name: ScoreCalibration.from_plain(stated) for name, stated in plain.get("calibration", {}).items()}
        ),
        "lineage": MappingProxyType(dict(plain.get("lineage", {}))),
    }


@dataclass(frozen=True)
class Bundle:
    """An installed bundle.

    Attributes:
        folder: where it lies.
        manifest: what it says about itself.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def load(cls, folder: Path, verify: bool = True) -> Self:
        """Read a bundle, and with `verify` every file's digest.

        Raises:
            BundleError: the folder holds no manifest, the manifest is unreadable, or a file is missing or
                altered.
        """
        try:
            text = (folder / MANIFEST_FILENAME).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BundleError(f"no model bundle in {folder}; run `python -m modeling install {folder.name}`") from error
        bundle = cls(folder, Manifest.from_json(text))
        if verify:
            bundle.verify()
        return bundle

    def verify(self) -> None:
        """Compare every file's SHA-256 with the manifest.

        Raises:
            BundleError: a file is missing or altered.
        """
        name = self.manifest.name
        for filename, expected in self.manifest.files.items():
            path = self.folder / filename
            if not path.is_file():
                raise BundleError(f"{path} is missing; run `python -m modeling install {name} --force`")
            if file_sha256(path) != expected:
                raise BundleError(f"{path} is altered; run `python -m modeling install {name} --force`")

    def graph(self, role: str) -> Path:
        """Path of the ONNX graph with this role.

        Raises:
            BundleError: the bundle has no such graph.
        """
        try:
            return self.folder / self.manifest.graphs[role]
        except KeyError:
            raise BundleError(f"bundle {self.manifest.name} has no graph {role!r}") from None

    @property
    def weights(self) -> Path:
        """Path of the safetensors file (names `image_encoder.*`, `prompt_encoder.*`, `mask_decoder.*`)."""
        return self.folder / self.manifest.weights


def bundles_folder() -> Path:
    """The folder that holds the bundles: `$HILUM_BUNDLES`, or `hilum/bundles` in the user's cache."""
    configured = os.environ.get("HILUM_BUNDLES")
    return Path(configured) if configured else platformdirs.user_cache_path("hilum") / "bundles"


def find_bundle(name: str, verify: bool = True) -> Bundle:
    """The installed bundle of this name.

    Raises:
        BundleError: it is not installed, altered or unreadable.
    """
    return Bundle.load(bundles_folder() / name, verify)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
