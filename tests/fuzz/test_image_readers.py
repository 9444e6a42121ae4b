"""No file, however hostile, takes more memory or time than an image, or raises anything but errors of ours."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pydicom
import pytest
from hypothesis import given
from pydicom.data import get_testdata_file

from hilum.errors import HilumError
from hilum.images import frame_count, read_image, read_volume
from tests.fuzz.bombs import BOMBS
from tests.fuzz.examples import damaged, examples

PIXELS = np.arange(48, dtype=np.uint8).reshape(6, 8)
# The libraries take 110 MiB, and a deflated file may inflate to 256 MiB, which its parser holds twice.
MAX_MEMORY_MIB = 900


def _picture(kind: str) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(stream, kind)
    return stream.getvalue()


def _dicom(name: str) -> bytes:
    file = pydicom.dcmread(str(get_testdata_file(name)))
    stream = io.BytesIO()
    file.save_as(stream)
    return stream.getvalue()


def _nifti() -> bytes:
    return nibabel.Nifti1Image(np.zeros((4, 5, 3), np.int16), np.eye(4)).to_bytes()  # type: ignore[no-untyped-call]


FILES = {
    "png": lambda: _picture("PNG"),
    "jpeg": lambda: _picture("JPEG"),
    "tiff": lambda: _picture("TIFF"),
    "bmp": lambda: _picture("BMP"),
    "dicom": lambda: _dicom("CT_small.dcm"),
    "nifti": _nifti,
}


@pytest.mark.parametrize("kind", FILES)
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    """Files damaged anywhere are read or refused, and nothing else."""
    valid: bytes = FILES[kind]()
    path = tmp_path / "file"

    @examples(30)
    @given(data=damaged(valid))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        for read in (frame_count, read_image, read_volume):
            _attempt(read, path)

    check()


def _attempt(read: Any, path: Path) -> None:
    try:
        found = read(path)
    except HilumError as error:
        assert str(path.parent) not in str(error)  # noqa: PT017 - what is refused is refused without the path
        return
    assert found is not None


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], int]:
    """How a process under limits has read every bomb, and the most memory that it took in MiB."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, made in BOMBS.items():
        (folder / name).write_bytes(made())
    command = [sys.executable, "-m", "tests.fuzz.bombs", *(str(folder / name) for name in BOMBS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, memory = done.stdout.splitlines()
    return dict(line.split() for line in lines), int(memory)


def test_all_bombs_are_met(outcomes: tuple[dict[str, str], int]) -> None:
    """Reading all of them takes no more memory than a few large images would; pages without end are not followed."""
    found, memory = outcomes
    assert set(found) == set(BOMBS)
    assert found["tiff_endless"] == "read"
    assert memory < MAX_MEMORY_MIB


@pytest.mark.parametrize("name", sorted(set(BOMBS) - {"tiff_endless"}))
def test_bombs_are_refused(outcomes: tuple[dict[str, str], int], name: str) -> None:
    """What claims or unpacks to more than an image is refused."""
    assert outcomes[0][name] in {"UnreadableImage", "InvalidField"}
