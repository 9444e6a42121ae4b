"""Volumes with label volumes beside them, as slices along a plane.

X.nii.gz has its labels in X_seg.nii.gz, X_label.nii.gz or the like, or in labels/X.nii.gz; volumes of a folder images,
imagesTr or imagesTs in labels, labelsTr or labelsTs beside it. `patients.csv` (image,patient) may lie with the volumes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.errors import InvalidField
from hilum.geometry import PatientFrame
from hilum.images import frame_count, read_volume
from hilum.intensity import grey_levels
from hilum.planes import PLANES, PlaneName, slice_volume
from hilum.types import BoolMask, Image, IntensityMapping, Volume
from modeling.datasets.label_values import NAMELESS, value_label, value_masks
from modeling.datasets.patients import read_patients
from modeling.datasets.square_pixels import resized_labels, resized_picture, square_size
from modeling.sample import CollectionError, Sample, mask_target

_SUFFIXES = (".nii.gz", ".nii")
_ENDINGS = tuple(f"_{word}" for word in sorted(NAMELESS) if word)
_LABEL_FOLDERS = {"images": "labels", "imagesTr": "labelsTr", "imagesTs": "labelsTs"}
# Of a slice; atlases have a few hundred labels.
_MAX_VALUES = 1024
# Share of a voxel by which the two grids may differ.
_TOLERANCE = 0.1


@dataclass(frozen=True)
class Cutting:
    """How volumes become slices.

    Attributes:
        plane: "axial", "coronal" or "sagittal".
        every: Take every k-th slice.
        min_area_px: Least pixels of a target in a slice; smaller ones are left out, and slices without any.

    Raises:
        InvalidField: The plane is unknown, or a number is below 1.
    """

    plane: PlaneName = "axial"
    every: int = 1
    min_area_px: int = 16

    def __post_init__(self) -> None:
        if self.plane not in PLANES:
            raise InvalidField(f"planes are {', '.join(PLANES)}, not {self.plane}", field="plane")
        for field in ("every", "min_area_px"):
            if getattr(self, field) < 1:
                raise InvalidField(f"it must be at least 1, not {getattr(self, field)}", field=field)


def read_nifti_pairs(
    path: Path,
    *,
    source: str = "",
    modality: str = "",
    mapping: IntensityMapping | None = None,
    names: Mapping[int, str] | None = None,
    plane: PlaneName = "axial",
    every: int = 1,
    min_area_px: int = 16,
) -> Iterator[Sample]:
    """Yields slices that show a label, hung with the patient's right on the image's left, pixels square.

    Args:
        path: A folder with volumes, or one volume.
        source: The data set's name; the folder's if empty.
        modality: DICOM Modality, which NIfTI does not know; "OT" if empty.
        mapping: How values become grey levels; percentiles of each slice where None.
        names: Names of label values.
        plane: See `Cutting`.
        every: See `Cutting`.
        min_area_px: See `Cutting`.

    Raises:
        InvalidField: The plane is unknown, or a number is below 1.
        CollectionError: A volume has no labels, they lie on another grid, or there are no volumes.
        UnreadableImage: A file cannot be read as a volume.
    """
    cutting = Cutting(plane, every, min_area_px)
    folder = path if path.is_dir() else path.parent
    volumes = find_volumes(path)
    if not volumes:
        raise CollectionError(f"{path}: there are no volumes (.nii, .nii.gz) here or in {', '.join(_LABEL_FOLDERS)}")
    for volume, labels in [(volume, _labels_of(volume)) for volume in volumes]:
        stem = _stem(volume)
        patient = read_patients(volume.parent).patient(volume.name, stem)
        for index, image, masks in _slices(volume, labels, cutting):
            x, y = _spacing(image)
            size = square_size(image.size, (x, y))
            yield Sample(
                name=f"{stem}-{plane}-{index:04d}",
                image=resized_picture(grey_levels(image, mapping), size),
                targets=tuple(mask_target(value_label(value, names or {}), mask) for value, mask in masks.items()),
                source=source or folder.resolve().name,
                modality=modality or "OT",
                patient=patient,
                spacing_mm=(x * image.size[1] / size[1], y * image.size[0] / size[0]),
            )


def find_volumes(path: Path) -> list[Path]:
    """Returns the volumes of a folder, else of its folders of images, without label volumes; of a file itself."""
    if not path.is_dir():
        return [path] if path.name.endswith(_SUFFIXES) else []
    files = nifti_files(path)
    for name in _LABEL_FOLDERS:
        files = files or nifti_files(path / name)
    stems = {_stem(file) for file in files}
    of_others = {stem + ending for stem in stems for ending in _ENDINGS}
    return [file for file in files if _stem(file) not in of_others]


def nifti_files(folder: Path) -> list[Path]:
    """Returns a folder's NIfTI files by their suffix, in the order of their names; none where there is no folder."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(file for file in found if file.name.endswith(_SUFFIXES) and not file.name.startswith("."))


def _labels_of(volume: Path) -> Path:
    stem, folder = _stem(volume), volume.parent
    beside = [folder / f"{stem}{ending}" for ending in _ENDINGS]
    folders = [folder / "labels"]
    if folder.name in _LABEL_FOLDERS:
        folders.append(folder.parent / _LABEL_FOLDERS[folder.name])
    within = [labels / f"{stem}{ending}" for labels in folders for ending in ("", *_ENDINGS)]
    for candidate in beside + within:
        for suffix in _SUFFIXES:
            found = candidate.with_name(candidate.name + suffix)
            if found.is_file():
                return found
    raise CollectionError(
        f"{volume}: it has no label volume: name one {stem}_seg.nii.gz beside it, or {stem}.nii.gz in a folder labels"
    )


def _slices(volume_path: Path, labels_path: Path, cutting: Cutting) -> Iterator[tuple[int, Image, dict[int, BoolMask]]]:
    """Yields a slice's index, its values, and the masks of its labels, resampled to square pixels."""
    volume, labels = read_volume(volume_path), read_volume(labels_path)
    _require_one_grid(volume, labels, labels_path)
    for index in range(0, frame_count(volume_path, plane=cutting.plane), cutting.every):
        values = slice_volume(labels, cutting.plane, index).pixels
        if not values.any():
            continue
        image = slice_volume(volume, cutting.plane, index)
        try:
            masks = value_masks(resized_labels(values, square_size(image.size, _spacing(image))), _MAX_VALUES)
        except ValueError as error:
            raise CollectionError(f"{labels_path}: {error}") from error
        masks = {value: mask for value, mask in masks.items() if np.count_nonzero(mask) >= cutting.min_area_px}
        if masks:
            yield index, image, masks


def _require_one_grid(volume: Volume, labels: Volume, labels_path: Path) -> None:
    """Both were turned to one orientation when they were read, so that only their grids may differ."""
    place, other = volume.geometry.frame, labels.geometry.frame
    if not isinstance(place, PatientFrame) or not isinstance(other, PatientFrame):
        raise CollectionError(
            f"{labels_path}: it or its volume does not say where left and right are (sform_code and qform_code are 0): "
            "set the code once you know that the affine is right"
        )
    if volume.voxels.shape != labels.voxels.shape:
        raise CollectionError(
            f"{labels_path}: it has {labels.voxels.shape} voxels (slices, rows, columns), its volume "
            f"{volume.voxels.shape}: resample it to the volume's grid"
        )
    # Corners tell origin, direction and spacing at once.
    apart = np.abs(_corners(volume, place) - _corners(labels, other)).max()
    if apart > _TOLERANCE * min(spacing for spacing in place.spacing_mm if spacing > 0):
        raise CollectionError(f"{labels_path}: it lies up to {apart:.2g} mm beside its volume: resample it to its grid")


def _corners(volume: Volume, frame: PatientFrame) -> NDArray[np.float64]:
    """(8, 3) centres of the corners' voxels in mm."""
    depth, height, width = volume.voxels.shape
    last = np.asarray([width - 1, height - 1, depth - 1]) * frame.spacing_mm
    ends = np.stack(np.meshgrid(*((0.0, end) for end in last), indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(ends @ np.asarray(frame.direction).T + frame.origin_mm)


def _spacing(image: Image) -> tuple[float, float]:
    """(x, y) in mm, which a slice of a volume with a place in the patient always has."""
    frame = image.geometry.frame
    assert isinstance(frame, PatientFrame)
    return frame.spacing_mm[0], frame.spacing_mm[1]


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").removesuffix(".nii")
