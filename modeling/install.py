"""From a model's name, and a checkpoint where the user brings it, to an installed bundle."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from hilum.errors import BundleError
from hilum.serving.bundle import MANIFEST_FILENAME, Bundle, BundleFormatError, bundles_folder
from modeling.catalogue import CATALOGUE, CatalogueEntry

if TYPE_CHECKING:
    from modeling.bundle_writer import OnStep, WrittenBundle


def catalogue_entry(name: str) -> CatalogueEntry:
    """The installable model of this name.

    Raises:
        BundleError: there is none.
    """
    if name not in CATALOGUE:
        raise BundleError(f"unknown model {name!r}; known are {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def installed(name: str) -> Bundle | None:
    """The installed bundle of this name with every digest checked.

    None where there is none, or one that another version of Hilum wrote in another format: it is written anew.

    Raises:
        BundleError: it is there, but altered or unreadable.
    """
    folder = bundles_folder() / name
    try:
        return Bundle.load(folder) if (folder / MANIFEST_FILENAME).exists() else None
    except BundleFormatError:
        return None


def install(
    name: str,
    checkpoint: Path | None = None,
    sha256: str | None = None,
    on_step: "OnStep | None" = None,
) -> "WrittenBundle":
    """Write the bundle of a known model into the user's cache, replacing one that is there.

    Args:
        name: a name of `CATALOGUE`.
        checkpoint: the weights file, for models whose weights the user brings.
        sha256: the digest (hex) the file must have, instead of the published checkpoint's.
        on_step: see `modeling.bundle_writer.write_bundle`.

    Raises:
        BundleError: the name is unknown, the checkpoint is missing, damaged or of another model, or a graph
            differs from its torch modules. Nothing is left of the attempt.
    """
    entry = catalogue_entry(name)
    if entry.needs_checkpoint and checkpoint is None:
        raise BundleError(f"{name} needs --checkpoint FILE, the weights published by {entry.spec.source}")
    if not entry.needs_checkpoint and checkpoint is not None:
        raise BundleError(f"{name} takes no --checkpoint: its weights come from the {entry.spec.source}")
    # torch takes seconds to import; what is above answers without it.
    from modeling.bundle_writer import write_bundle  # noqa: PLC0415
    from modeling.models import build_model, lite_medsam_checkpoint, read_checkpoint  # noqa: PLC0415
    from modeling.shipped import read_shipped  # noqa: PLC0415

    weights = read_checkpoint(checkpoint or lite_medsam_checkpoint(), sha256 or entry.checkpoint_sha256)
    spec = entry.spec
    if entry.shipped_decoder:
        shipped = read_shipped(name)
        weights = shipped.applied_to(weights)
        spec = dataclasses.replace(spec, calibration=shipped.calibration, lineage=shipped.lineage)
    model = build_model(spec.architecture, weights)
    return write_bundle(model, spec, bundles_folder() / name, on_step)
