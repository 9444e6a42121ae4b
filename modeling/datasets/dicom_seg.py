"""A folder of DICOM images with DICOM Segmentations (SEG) of them, matched by SOP Instance UID and frame number.

Patients, and images, are named by hashes; nothing else that the files say of a person is kept.
Source: DICOM PS3.3 C.8.20 (segmentation), C.7.6.16.2.6 (derivation image).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from hilum.dicom.geometry import frame_geometry
from hilum.dicom.header import DicomFile, opened
from hilum.dicom.stored import stored_values
from hilum.files import FileKind, file_kind, reading
from hilum.geometry import Frame, ImageGeometry, PatientFrame
from hilum.images import read_image
from hilum.intensity import grey_levels
from hilum.masks import decode_rle, encode_rle
from hilum.types import BoolMask, Image, IntensityMapping
from modeling.datasets.patients import opaque_name
from modeling.sample import CollectionError, Sample, Target, mask_target

# What tells images from segmentations, whose image it is, and their order.
_IDENTITY = (
    *("Modality", "Rows", "NumberOfFrames", "SOPInstanceUID"),
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber"),
)
# Share of a pixel, and of a direction's unit length, by which a segment may lie beside its image.
_TOLERANCE = 0.1


@dataclass(frozen=True)
class _ImageFile:
    """A file with images: its SOP Instance UID, or its path without one; the patient's hash; its number of frames."""

    path: Path
    uid: str
    patient: str
    frames: int


@dataclass(frozen=True)
class _Segment:
    """What one frame of a segmentation shows: mostly background, kept as run lengths."""

    path: Path
    frame: int
    label: str
    counts: NDArray[np.uint32]
    size: tuple[int, int]
    geometry: ImageGeometry

    def target(self, image: Image) -> Target:
        """Returns it as a target of the image that it refers to.

        Raises:
            CollectionError: Its pixels are not the image's, as of a turned or resampled copy.
        """
        name = f"{self.path.name}, frame {self.frame}"
        if self.size != image.size:
            raise CollectionError(f"{name}: it is {self.size} pixels (rows, columns), its image {image.size}")
        if not _on_one_grid(self.geometry.frame, image.geometry.frame, max(self.size)):
            raise CollectionError(f"{name}: it does not lie on its image's pixels: resample it to the image")
        return mask_target(self.label, decode_rle(self.counts, self.size))


# By SOP Instance UID and frame (from 1) of the image.
_Segments: TypeAlias = dict[tuple[str, int], list[_Segment]]


def read_dicom(
    path: Path, *, source: str = "", modality: str = "", mapping: IntensityMapping | None = None
) -> Iterator[Sample]:
    """Yields every frame of every image below a folder; those without segments have no targets.

    Args:
        path: The folder; files that are no DICOM images are passed over.
        source: The data set's name; the folder's if empty.
        modality: DICOM Modality; the file's if empty.
        mapping: How values become grey levels; the file's own window, else percentiles, where None.

    Raises:
        CollectionError: There are no images, or segmentations that do not fit them.
        UnreadableImage: A file cannot be decoded.
    """
    images, segmentations = _sorted_files(path)
    segments = _segments(path, segmentations, images)
    for file in images:
        for frame in range(1, file.frames + 1):
            image = read_image(file.path, frame=frame)
            found = segments.get((file.uid, frame), ())
            yield Sample(
                name=f"{file.patient}-{opaque_name(file.uid)}" + (f"-{frame:04d}" if file.frames > 1 else ""),
                image=grey_levels(image, mapping),
                targets=tuple(segment.target(image) for segment in found),
                source=source or path.resolve().name,
                modality=modality or image.source.modality or "OT",
                patient=file.patient,
                spacing_mm=image.geometry.plane_spacing_mm,
            )


def dicom_files(folder: Path) -> Iterator[Path]:
    """Yields the DICOM files below a folder, by content, in the order of their names."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != "DICOMDIR" and file.stat().st_size and not file.name.startswith("."):
            with reading(file):
                is_dicom = file_kind(file) is FileKind.DICOM
            if is_dicom:
                yield file


def _sorted_files(folder: Path) -> tuple[list[_ImageFile], list[Path]]:
    """Images, in order of series and number, and segmentations."""
    images: list[tuple[tuple[str, int], _ImageFile]] = []
    segmentations = []
    for file in dicom_files(folder):
        with reading(file):
            header = dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(_IDENTITY))
            if header.get("Modality") == "SEG":
                segmentations.append(file)
            elif "Rows" in header:
                order = str(header.get("SeriesInstanceUID", "")), int(header.get("InstanceNumber") or 0)
                images.append((order, _image_file(file, header)))
    if not images:
        raise CollectionError(f"{folder}: there are no DICOM images here or in its folders")
    images.sort(key=lambda entry: entry[0])
    uids = {entry.uid for _, entry in images}
    if len(uids) < len(images):
        raise CollectionError(f"{folder}: several files have one SOP Instance UID: remove the copies")
    return [entry for _, entry in images], segmentations


def _image_file(path: Path, header: Dataset) -> _ImageFile:
    """De-identified files may have lost their names: a study shows one patient, a folder probably."""
    uid = str(header.get("SOPInstanceUID") or path)
    identifier = str(header.get("PatientID") or header.get("StudyInstanceUID") or path.parent)
    return _ImageFile(path, uid, opaque_name(identifier), max(int(header.get("NumberOfFrames") or 1), 1))


def _segments(folder: Path, segmentations: list[Path], images: list[_ImageFile]) -> _Segments:
    """Which segments lie on which image; segments of images that are not here are passed over.

    Raises:
        CollectionError: A segmentation refers to no image that is here.
    """
    frames = {image.uid: image.frames for image in images}
    segments: _Segments = defaultdict(list)
    for path in segmentations:
        with reading(path), opened(path) as file:
            header = dcmread(path, stop_before_pixels=True)
            shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
            places = [_places(groups, shared, frames) for groups in header.PerFrameFunctionalGroupsSequence]
            for frame, on_images in enumerate(places, start=1):
                found = _masks(file, header, frame) if on_images else ()
                for image in on_images:
                    segments[image].extend(found)
        if not any(places):
            raise CollectionError(
                f"{path.name}: its frames refer by SOP Instance UID to no image in {folder}: put its images beside it"
            )
    return segments


def _places(groups: Dataset, shared: Dataset, frames: Mapping[str, int]) -> set[tuple[str, int]]:
    """The images, and their frames, that a frame of a segmentation was drawn on, of those that are here."""
    derivations = groups.get("DerivationImageSequence") or shared.get("DerivationImageSequence") or ()
    found: set[tuple[str, int]] = set()
    for derivation in derivations:
        for item in derivation.get("SourceImageSequence") or ():
            uid = str(item.ReferencedSOPInstanceUID)
            numbers: Any = item.get("ReferencedFrameNumber") or range(1, frames.get(uid, 0) + 1)
            numbers = numbers if isinstance(numbers, Iterable) else [numbers]
            found.update((uid, int(number)) for number in numbers if uid in frames)
    return found


def _masks(file: DicomFile, header: Dataset, frame: int) -> list[_Segment]:
    """The segments of a frame (from 1) that are not empty."""
    labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in header.SegmentSequence}
    values = stored_values(file, frame)
    if header.SegmentationType == "LABELMAP":
        masks: dict[int, BoolMask] = {int(number): values == number for number in np.unique(values) if number}
    else:
        identification = file.functional_group("SegmentIdentificationSequence", frame)
        # Of fractions, at least one half.
        highest = int(header.MaximumFractionalValue) if header.SegmentationType == "FRACTIONAL" else 1
        masks = {int(identification.ReferencedSegmentNumber): values >= highest / 2}
    geometry = frame_geometry(file, frame)
    return [
        _Segment(file.path, frame, labels.get(number) or f"segment {number}", encode_rle(mask), mask.shape, geometry)
        for number, mask in masks.items()
        if mask.any()
    ]


def _on_one_grid(here: Frame, there: Frame, side: int) -> bool:
    """Whether two pictures of one size lie on the same pixels, as far as is known."""
    if not isinstance(here, PatientFrame) or not isinstance(there, PatientFrame):
        return True
    pixel = min(there.spacing_mm[:2])
    apart = np.abs(np.subtract(here.origin_mm, there.origin_mm)).max() / pixel
    turned = np.abs(np.subtract(here.direction, there.direction)).max()
    # The difference in spacing adds up over the picture.
    scaled = np.abs(np.subtract(here.spacing_mm[:2], there.spacing_mm[:2])).max() * side / pixel
    return bool(max(apart, turned, scaled) <= _TOLERANCE)
