"""A folder `images/` with `masks/` beside it.

A mask belongs to the image whose stem its own begins with: liver-07.png has the masks liver-07.png, or
liver-07_spleen.png, or liver-07_spleen_000.png and liver-07_spleen_001.png (SAM-Med2D's names), label "spleen".
Masks are black and white, or hold one small number per target or class. `patients.csv` (image,patient) may lie beside.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from hilum.files import reading, require_pixels
from hilum.images import read_image
from hilum.intensity import grey_levels
from hilum.types import IntensityMapping
from modeling.datasets.label_values import NAMELESS, WHITE, value_label, value_masks
from modeling.datasets.patients import read_patients
from modeling.sample import CollectionError, Sample, Target, mask_target

IMAGES, MASKS = "images", "masks"
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm"})
# Three digits count targets; fewer may belong to the label, as in rib_left_9, unless they are all there is.
_NUMBER = re.compile(r"(^|[_.-])\d{3,}$|^[_.-]?\d+$")
_SEPARATORS = "_.-"


def read_folder(
    path: Path,
    *,
    source: str = "",
    modality: str = "",
    mapping: IntensityMapping | None = None,
    names: Mapping[int, str] | None = None,
) -> Iterator[Sample]:
    """Yields the images, in the order of their names; those without a mask have no targets.

    Args:
        path: The folder that holds `images` and `masks`.
        source: The data set's name; the folder's if empty.
        modality: DICOM Modality; the file's, or "OT", if empty.
        mapping: How values become grey levels; the image's default where None.
        names: Names of label values, for masks whose own name says none.

    Raises:
        CollectionError: There are no images, two have one stem, or a mask belongs to none or does not fit its image.
        UnreadableImage: A file is no picture.
    """
    images = _by_stem(path / IMAGES)
    masks = _masks_by_image(path / MASKS, images)
    patients = read_patients(path)
    for stem, file in images.items():
        image = read_image(file)
        yield Sample(
            name=stem,
            image=grey_levels(image, mapping),
            targets=tuple(target for mask in masks[stem] for target in _targets(mask, stem, image.size, names or {})),
            source=source or path.resolve().name,
            modality=modality or image.source.modality or "OT",
            patient=patients.patient(file.name, stem),
            spacing_mm=image.geometry.plane_spacing_mm,
        )


def picture_files(folder: Path) -> list[Path]:
    """Returns a folder's pictures by their suffix, in the order of their names; none where there is no folder."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(file for file in found if file.suffix.lower() in _SUFFIXES and not file.name.startswith("."))


def _by_stem(folder: Path) -> dict[str, Path]:
    images: dict[str, Path] = {}
    for file in picture_files(folder):
        if file.stem in images:
            raise CollectionError(f"{folder}: {images[file.stem].name} and {file.name} have one stem: rename one")
        images[file.stem] = file
    if not images:
        raise CollectionError(f"{folder}: there are no pictures ({', '.join(sorted(_SUFFIXES))})")
    return images


def _masks_by_image(folder: Path, images: Mapping[str, Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {stem: [] for stem in images}
    for file in picture_files(folder):
        # The longest stem: of the images a and a_1, the mask a_1_liver is a_1's.
        starts = (file.stem[:end] for end in range(len(file.stem), 0, -1) if _ends_here(file.stem, end))
        owner = next((start for start in starts if start in images), None)
        if owner is None:
            raise CollectionError(f"{file}: its name begins with no image's stem: rename it, or take it away")
        found[owner].append(file)
    return found


def _ends_here(name: str, end: int) -> bool:
    return end == len(name) or name[end] in _SEPARATORS


def _targets(file: Path, stem: str, size: tuple[int, int], names: Mapping[int, str]) -> list[Target]:
    values = _mask_values(file)
    if values.shape != size:
        raise CollectionError(f"{file}: it is {_by(values.shape)} pixels (height x width), its image {_by(size)}")
    try:
        masks = value_masks(values)
    except ValueError as error:
        raise CollectionError(f"{file}: {error}") from error
    text = _NUMBER.sub("", file.stem[len(stem) :]).strip(_SEPARATORS)
    if text.lower() in NAMELESS:
        return [mask_target(value_label(value, names), mask) for value, mask in masks.items()]
    return [mask_target(f"{text} {value}" if len(masks) > 1 else text, mask) for value, mask in masks.items()]


def _mask_values(file: Path) -> NDArray[Any]:
    """(height, width): numbers as they are stored, of palettes their indices."""
    with reading(file), PillowImage.open(file) as picture:
        require_pixels(file, picture.height, picture.width)
        if picture.format == "JPEG":
            # Compression smears values, so that a JPEG tells two of them apart at most.
            return np.where(np.asarray(picture.convert("L")) > WHITE // 2, WHITE, 0)
        values = np.asarray(picture.convert("L") if picture.mode in ("LA", "1") else picture)
    if values.ndim == 2:
        return values
    if (values[..., 1:3] != values[..., :1]).any():
        raise CollectionError(f"{file}: it is a mask in colours: write one value per target, or one file each")
    first: NDArray[Any] = values[..., 0]
    return first


def _by(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
