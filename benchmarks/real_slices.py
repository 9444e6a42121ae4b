"""The real slices that pairs of kind (b) are made of, by patient; read from a folder of sample data, never shipped."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import cv2
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from numpy.typing import NDArray

Slice = NDArray[np.float64]

_CT_HEAD_HU = (-150.0, 250.0)
_CT_BODY_HU = (-300.0, 500.0)
_LARGEST_PERCENTILE = 99.5


class Purpose(Enum):
    """What a set of patients and seeds is for; the two share none."""

    DEVELOPMENT = "development"
    REPORT = "report"


@dataclass(frozen=True)
class Patient:
    """Slices of one patient.

    Attributes:
        name: the folder of the sample data, with the patient's part of the file name where it holds several.
        path: file or folder under the sample data.
        indices: which slices, in the order of the file or of the files' names.
        window: intensities shown as 0 and 1; None for the range from 0 to the 99.5th percentile.
    """

    name: str
    path: str
    indices: tuple[int, ...] = (0,)
    window: tuple[float, float] | None = None

    def pictures(self, data: Path, side_px: int) -> list[tuple[str, Slice]]:
        """Name and picture (side_px, side_px) of each slice, intensities in [0, 1].

        Raises:
            FileNotFoundError: the sample data is not there.
        """
        return [
            (f"{self.name}/{i}", squared(self._scaled(self._read(data / self.path, i)), side_px)) for i in self.indices
        ]

    def stack(self, data: Path) -> Slice:
        """All slices, (slices, height, width), intensities in [0, 1]; a picture is one slice."""
        path = data / self.path
        count = len(_scans(path)) if path.is_dir() else 1
        if path.suffix == ".nrrd":
            count = len(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
        return np.stack([self._scaled(self._read(path, index)) for index in range(count)])

    def _read(self, path: Path, index: int) -> NDArray[np.float64]:
        if path.is_dir():
            dataset = pydicom.dcmread(_scans(path)[index])
            slope, intercept = (
                float(dataset.get(name, default)) for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
            )
            return np.asarray(dataset.pixel_array * slope + intercept, np.float64)
        if path.suffix == ".png":
            return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.float64)
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[index], np.float64)

    def _scaled(self, picture: Slice) -> Slice:
        low, high = self.window or (0.0, float(np.percentile(picture, _LARGEST_PERCENTILE)))
        return np.clip((picture - low) / (high - low), 0, 1)


PATIENTS = {
    Purpose.DEVELOPMENT: (
        Patient("brain1", "mr_brain_breast_labels/brain1_image.nrrd", (5, 9, 13, 17)),
        Patient("head", "ct_head_tilted_dicom", (3, 10, 14), _CT_HEAD_HU),
        Patient("s0114", "ct_organs_2d/images/s0114_111.png"),
    ),
    Purpose.REPORT: (
        Patient("brain2", "mr_brain_breast_labels/brain2_image.nrrd", (5, 10, 14, 18)),
        Patient("mr_brain_dicom", "mr_brain_dicom", (2, 7, 11, 15)),
        Patient("ct_abdomen_dicom", "ct_abdomen_dicom", (2, 9, 17), _CT_BODY_HU),
        Patient("amos_0507", "ct_organs_2d/images/amos_0507_31.png"),
    ),
}


def _scans(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix not in {".txt", ".gz"} and file.name[0] != "L")


def squared(picture: Slice, side_px: int) -> Slice:
    """A picture centred on a black square, then sampled at this side."""
    side = max(picture.shape)
    (above, left), (height, width) = ((side - n) // 2 for n in picture.shape), picture.shape
    square = cv2.copyMakeBorder(
        picture, above, side - height - above, left, side - width - left, cv2.BORDER_CONSTANT, value=0
    )
    shrinks = side > side_px
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.clip(np.asarray(cv2.resize(square, (side_px, side_px), interpolation=interpolation), np.float64), 0, 1)
