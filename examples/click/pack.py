"""What training needs, in one file that travels to a machine with a GPU: no collection, no embeddings, no graphs.

Images travel at the size at which they are changed and learnt from, the base model's weights in half precision. That
changes nothing of LoRA's additions to the encoder, which are a difference, and of the decoder less than what is shipped
of it, which is half precision too.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from PIL import Image as PillowImage
from torch import nn

from hilum.serving.bundle import MANIFEST_FILENAME, Bundle, Manifest
from modeling.models import build_model
from modeling.training_set import TrainingImage, TrainingSet
from modeling.variation import NOTHING, on_canvas_size

WEIGHTS, LINEAGE, IMAGES = "base.safetensors", "lineage.json", "images/"


@dataclass(frozen=True, eq=False)
class Pack:
    """What was packed.

    Attributes:
        images: the training images, without embeddings.
        base: the model to begin with.
        manifest: of its bundle.
        lineage: base, data, preparation.
    """

    images: TrainingSet
    base: nn.Module
    manifest: Manifest
    lineage: Mapping[str, Any]


def pack(images: TrainingSet, base: Bundle, lineage: Mapping[str, Any], path: Path) -> None:
    """Write a file that `unpacked` reads.

    Args:
        images: prepared ones.
        base: the bundle to begin with.
        lineage: base, data, preparation, as JSON.
        path: of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = safetensors.torch.load_file(base.weights)
    halved = {name: it.half() if it.is_floating_point() else it for name, it in weights.items()}
    scratch = path.with_suffix(".partial")
    with zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST_FILENAME, base.manifest.to_json())
        archive.writestr(LINEAGE, json.dumps(dict(lineage)))
        archive.writestr(WEIGHTS, safetensors.torch.save(halved))
        for number, source in enumerate(images.paths):
            image = images[number]
            archive.writestr(f"{IMAGES}{source.stem}.png", _png(image), zipfile.ZIP_STORED)
            archive.writestr(f"{IMAGES}{source.stem}.npz", _facts(image), zipfile.ZIP_STORED)
    scratch.replace(path)


def unpacked(path: Path, folder: Path) -> Pack:
    """Read a packed file; its images are laid out in a folder, where they stay for the next time."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path) as archive:
        manifest = Manifest.from_json(archive.read(MANIFEST_FILENAME).decode())
        weights = safetensors.torch.load(archive.read(WEIGHTS))
        lineage = json.loads(archive.read(LINEAGE))
        paths = []
        for name in sorted(it for it in archive.namelist() if it.startswith(IMAGES) and it.endswith(".npz")):
            target = folder / Path(name).name
            paths.append(target)
            if not target.exists():
                _lay_out(archive, name, target)
    full = {name: it.float() if it.is_floating_point() else it for name, it in weights.items()}
    return Pack(TrainingSet(paths), build_model(manifest.architecture, full), manifest, lineage)


def _lay_out(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    """Write one training image as `modeling.training_set` reads it."""
    with PillowImage.open(io.BytesIO(archive.read(name.removesuffix(".npz") + ".png"))) as picture:
        image = np.asarray(picture)
    with np.load(io.BytesIO(archive.read(name))) as facts:
        scratch = target.with_suffix(".partial")
        with scratch.open("wb") as file:
            np.savez(file, image=image, embedding=NOTHING, **facts)
        scratch.replace(target)


def _png(image: TrainingImage) -> bytes:
    file = io.BytesIO()
    PillowImage.fromarray(on_canvas_size(image)).save(file, "PNG", optimize=True)
    return file.getvalue()


def _facts(image: TrainingImage) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(
        file,
        masks=np.packbits(image.masks),
        side=image.masks.shape[-1],
        labelled=image.labelled,
        input_size=np.array(image.input_size),
        source=image.source,
    )
    return file.getvalue()
