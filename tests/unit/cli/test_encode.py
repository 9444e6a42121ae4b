"""`hilum encode` over folders as archives leave them, against the fakes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from hilum.cli.study import Unreadable, files_of, images_of
from hilum.errors import DeadlineExceeded, NoContent
from hilum.testing import FakeEncoder
from tests.unit.cli.conftest import Command


def png(path: Path, seed: int) -> None:
    PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 50), dtype=np.uint8)).save(path)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two pictures, one in a folder of its own, a CT slice, a volume of three slices, and things that are no images."""
    folder = tmp_path / "study"
    (folder / "series 1").mkdir(parents=True)
    (folder / ".thumbnails").mkdir()
    png(folder / "a.png", 0)
    png(folder / "series 1" / "b.png", 1)
    png(folder / ".thumbnails" / "hidden.png", 2)
    shutil.copy(str(get_testdata_file("CT_small.dcm")), folder / "series 1" / "IM0001")
    image: Any = nibabel.Nifti1Image  # nibabel is typed in parts only
    values = np.random.default_rng(3).normal(0, 100, (10, 12, 3)).astype(np.int16)
    nibabel.save(image(values, np.eye(4)), folder / "volume.nii.gz")
    (folder / "notes.txt").write_text("no image")
    (folder / "DICOMDIR").write_bytes(b"\0" * 200)
    report = dcmread(str(get_testdata_file("CT_small.dcm")))
    for keyword in ("PixelData", "Rows", "Columns"):
        del report[keyword]
    report.save_as(folder / "report.dcm")
    return folder


def test_every_image_is_encoded_once(hilum: Command, encoder: FakeEncoder, study: Path) -> None:
    """All images and slices are encoded, whatever their folder; a second run finds them known and sends none."""
    first = hilum("encode", study)
    assert first.code == 0, first.err
    assert "6 encoded, 0 known before, 0 failed" in first.out
    assert "passed over as no images: 2" in first.out
    assert encoder.encoder_runs == 6
    second = hilum("encode", study)
    assert second.code == 0
    assert "0 encoded, 6 known before, 0 failed" in second.out
    assert encoder.encoder_runs == 6


def test_what_was_encoded_serves_later_prompts(hilum: Command, encoder: FakeEncoder, study: Path) -> None:
    """A prompt on a large target of an encoded image, under the same window, encodes nothing again."""
    hilum("encode", study, "--preset", "soft-tissue")
    outcome = hilum("segment", study / "series 1" / "IM0001", "--preset", "soft-tissue", "--box", "10,10,110,110")
    assert outcome.code == 0, outcome.err
    assert encoder.encoder_runs == 6


def test_unreadable_images_are_named_with_reasons(hilum: Command, encoder: FakeEncoder, study: Path) -> None:
    """Damaged images are listed with what is wrong, the others are encoded, and the exit code is 1."""
    (study / "broken.png").write_bytes(b"no picture")
    cut = (study / "series 1" / "IM0001").read_bytes()[:-1000]
    (study / "series 1" / "IM0002").write_bytes(cut)
    outcome = hilum("encode", study)
    assert outcome.code == 1
    assert "6 encoded, 0 known before, 2 failed" in outcome.out
    assert "broken.png" in outcome.out
    assert "series 1/IM0002" in outcome.out
    assert "end early" in outcome.out
    assert encoder.encoder_runs == 6


def test_an_image_that_the_encoder_refuses_is_named(hilum: Command, tmp_path: Path) -> None:
    """An image of padding alone fails by itself, with the encoder's reason."""
    folder = tmp_path / "study"
    folder.mkdir()
    empty = dcmread(str(get_testdata_file("CT_small.dcm")))
    empty.PixelPaddingValue = -2000
    empty.PixelData = np.full((128, 128), -2000, "<i2").tobytes()
    empty.save_as(folder / "empty.dcm")
    png(folder / "z.png", 0)
    outcome = hilum("encode", folder)
    assert outcome.code == 1
    assert NoContent.reason in outcome.out
    assert "1 encoded, 0 known before, 1 failed" in outcome.out


def test_a_service_that_goes_away_ends_the_run(hilum: Command, encoder: FakeEncoder, study: Path) -> None:
    """When the encoder cannot be asked at all, the run stops and says how many images were not tried."""
    encoder.fail_next(DeadlineExceeded("too late"))
    outcome = hilum("encode", study)
    assert outcome.code == 1
    assert "the encoder" in outcome.out
    assert "6 not tried" in outcome.out


def test_an_empty_folder_has_nothing_to_encode(hilum: Command, tmp_path: Path) -> None:
    """A folder without images is no error."""
    outcome = hilum("encode", tmp_path)
    assert (outcome.code, "0 encoded" in outcome.out) == (0, True)


def test_files_and_their_images(study: Path) -> None:
    """Hidden files and tables of contents are left out; names tell frames and slices apart."""
    names = [path.name for path in files_of(study)]
    assert names == ["a.png", "notes.txt", "report.dcm", "IM0001", "b.png", "volume.nii.gz"]
    slices = images_of(study / "volume.nii.gz", "sagittal")
    assert not isinstance(slices, Unreadable)
    assert len(slices) == 10
    assert slices[3].name(study) == "volume.nii.gz sagittal 3"
    assert slices[3].read().size == (3, 12)
