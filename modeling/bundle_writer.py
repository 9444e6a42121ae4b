"""A torch model written as a bundle: all of it, or nothing."""

import hashlib
import importlib.metadata
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from hilum.serving.bundle import (
    FORMAT_VERSION,
    MANIFEST_FILENAME,
    POSTPROCESSING_VERSION,
    PREPROCESSING_VERSION,
    Bundle,
    Manifest,
    file_sha256,
)
from modeling import verification
from modeling.catalogue import ModelSpec
from modeling.graphs import decoder_graphs, encoder_graph, write_graph

WEIGHTS_FILENAME = "weights.safetensors"
# What is reported while a bundle is written, in order.
STEPS = (
    "weights",
    "image_encoder",
    "mask_decoder_image",
    "mask_decoder_prompts",
    "mask_decoder",
    "mask_decoder_with_mask",
    "comparison with torch",
    "digests",
)
# Told each step's name as it begins, its number from 0, and how many there are.
OnStep = Callable[[str, int, int], None]
_PACKAGES = ("torch", "onnx", "onnxruntime", "segment-anything")


@dataclass(frozen=True)
class WrittenBundle:
    """A bundle as it was written.

    Attributes:
        bundle: the bundle.
        differences: largest difference from torch by graph role; see `verification.largest_differences`.
    """

    bundle: Bundle
    differences: Mapping[str, float]


def write_bundle(model: nn.Module, spec: ModelSpec, folder: Path, on_step: OnStep | None = None) -> WrittenBundle:
    """Write a bundle and compare its graphs with the model.

    Args:
        model: torch module with the parts `image_encoder` ((B, 3, S, S) -> (B, C, h, w)), `prompt_encoder` and
            `mask_decoder` of segment-anything, in evaluation mode.
        spec: what the manifest says beside the weights.
        folder: where the bundle will lie; its name should be the spec's. What lies there is replaced, in one
            step at the end: until then, and after any failure, nothing in it is touched or left.
        on_step: told of each step as it begins; see `OnStep`.

    Raises:
        BundleError: a graph differs from its torch modules by more than `verification.TOLERANCE`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{spec.name}-", dir=folder.parent))
    try:
        scratch.chmod(0o755)
        manifest, differences = _fill(scratch, model, spec, on_step)
        _publish(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return WrittenBundle(Bundle(folder, manifest), differences)


def _fill(
    folder: Path, model: nn.Module, spec: ModelSpec, on_step: OnStep | None
) -> tuple[Manifest, Mapping[str, float]]:
    def begin(step: str) -> None:
        if on_step is not None:
            on_step(step, STEPS.index(step), len(STEPS))

    begin("weights")
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(weights, folder / WEIGHTS_FILENAME)
    begin("image_encoder")
    encoder = encoder_graph(model, spec.image_size)
    write_graph(encoder, folder)
    graphs = {encoder.role: encoder.filename}
    for graph in decoder_graphs(model):
        begin(graph.role)
        write_graph(graph, folder)
        graphs[graph.role] = graph.filename
    begin("comparison with torch")
    differences = verification.largest_differences(model, folder, spec.image_size)
    verification.check(differences)
    begin("digests")
    manifest = _manifest(model, spec, weights, graphs, folder)
    (folder / MANIFEST_FILENAME).write_text(manifest.to_json(), encoding="utf-8")
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors and onnx write some files for their owner only
    return manifest, differences


def weights_revision(weights: Mapping[str, Tensor], parts: tuple[str, ...], processing_version: str) -> str:
    """SHA-256 (hex) of a processing version and of all weights of some parts of a model, in name order.

    Each tensor enters as its name, data type, shape and little-endian row-major bytes, so that the revision
    depends on no file format.
    """
    digest = hashlib.sha256(f"{'+'.join(parts)}\n{processing_version}\n".encode())
    for name in sorted(weights):
        if name.startswith(tuple(f"{part}." for part in parts)):
            array = weights[name].numpy()
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def _manifest(
    model: Any, spec: ModelSpec, weights: Mapping[str, Tensor], graphs: Mapping[str, str], folder: Path
) -> Manifest:
    height, width = model.prompt_encoder.image_embedding_size
    return Manifest(
        format_version=FORMAT_VERSION,
        name=spec.name,
        architecture=spec.architecture,
        encoder_revision=weights_revision(weights, ("image_encoder",), PREPROCESSING_VERSION),
        decoder_revision=weights_revision(weights, ("prompt_encoder", "mask_decoder"), POSTPROCESSING_VERSION),
        image_size=spec.image_size,
        normalisation=spec.normalisation,
        resize="longest_side_pad_right_bottom",
        embedding_shape=(model.prompt_encoder.embed_dim, height, width),
        low_res_mask_size=4 * height,
        mask_threshold=0.0,
        prompts=spec.prompts,
        licence=spec.licence,
        source=spec.source,
        created_with={package: importlib.metadata.version(package) for package in _PACKAGES},
        files={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        graphs=graphs,
        weights=WEIGHTS_FILENAME,
        calibration=spec.calibration,
        lineage=spec.lineage,
    )


def _publish(written: Path, folder: Path) -> None:
    """Put a finished bundle in its place, and take away the one that was there."""
    replaced = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with suppress(FileNotFoundError):
            folder.replace(replaced)
        written.replace(folder)
    finally:
        shutil.rmtree(replaced, ignore_errors=True)
