"""Poses over real processes: the command line and the client, against a fusion service of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import PIL.Image
import pytest
from google.protobuf import json_format
from scipy.spatial.transform import Rotation

from hilum import Client, Endpoints
from hilum.images import read_volume
from hilum.pose_file import read_radiographs
from hilum.types import RegistrationProgress
from tests.contract.messages import array_of
from tests.contract.posing import SPACING_MM, VOXELS, view
from tests.integration.processes import ROOT, service

TIMEOUT_S = 180
MIDDLE = np.full(3, (len(VOXELS) - 1) / 2 * SPACING_MM)


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Path]:
    """A CT as NIfTI and two radiographs of it as 16-bit PNG; the initial pose is 5 degrees and 8 mm off."""
    # LPS to the RAS of NIfTI.
    affine = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])
    nifti: Any = nib
    nifti.save(nifti.Nifti1Image(VOXELS.transpose(2, 1, 0), affine), tmp_path / "ct.nii.gz")
    entries = []
    for axis in (1, 2):
        message = view(axis)
        pixels = array_of(message.pixels)
        PIL.Image.fromarray((pixels * 1000).astype(np.uint16)).save(tmp_path / f"{axis}.png")
        message.ClearField("pixels")
        entries.append({"image": f"{axis}.png"} | json_format.MessageToDict(message, preserving_proto_field_name=True))
    start = np.eye(4)
    start[:3, :3] = Rotation.from_rotvec((3, -2, 4), degrees=True).as_matrix()
    start[:3, 3] = MIDDLE + np.array([5.0, -4.0, 5.0]) - start[:3, :3] @ MIDDLE
    path = tmp_path / "radiographs.json"
    path.write_text(json.dumps({"radiographs": entries, "initial_pose": start.ravel().tolist()}))
    return tmp_path / "ct.nii.gz", path


def test_command_and_client_find_the_pose(study: tuple[Path, Path], tmp_path: Path) -> None:
    """`hilum pose` writes the pose that the client gets, near the truth, with progress on the way."""
    volume, radiographs = study
    out = tmp_path / "pose.json"
    with service("fusion", redis_url="") as fusion:
        command = [sys.executable, "-m", "hilum.cli", "pose", str(volume), str(radiographs), "--out", str(out)]
        run = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "HILUM_FUSION": fusion.address},
            timeout=TIMEOUT_S,
        )
        assert run.returncode == 0, run.stderr
        views, initial = read_radiographs(radiographs)
        steps: list[RegistrationProgress] = []
        with Client(Endpoints(fusion=fusion.address)) as client:
            found = client.estimate_pose(read_volume(volume), views, initial_pose=initial, on_progress=steps.append)
    assert "Not for diagnosis" in run.stdout
    assert steps
    written = np.reshape(json.loads(out.read_text())["patient_to_room"], (4, 4))
    np.testing.assert_allclose(written, found.patient_to_room, atol=1e-9)
    corners = np.array([[x, y, z, 1] for x in (40, 170) for y in (40, 170) for z in (40, 170)])
    assert np.linalg.norm(corners @ (found.patient_to_room - np.eye(4)).T, axis=1).mean() < 3
    assert found.flags == ()
