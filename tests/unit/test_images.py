"""Files are told apart by content, and heavy libraries come with the first file of their kind."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest

from hilum.errors import UnreadableImage
from hilum.images import frame_count, read_image, read_volume


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    """A PNG called .dcm and a compressed NIfTI called .gz are read as what they are."""
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    PIL.Image.fromarray(pixels).save(tmp_path / "scan.dcm", "PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "scan.dcm").pixels, pixels)
    make: Any = nibabel.Nifti1Image  # nibabel is typed in parts only
    nibabel.save(make(np.zeros((3, 4, 5), np.int16), np.eye(4)), tmp_path / "volume.nii.gz")
    assert frame_count(tmp_path / "volume.nii.gz", plane="sagittal") == 3
    assert read_volume(str(tmp_path / "volume.nii.gz")).voxels.shape == (5, 4, 3)


def test_files_that_are_not_there_folders_and_empty_files_are_named(tmp_path: Path) -> None:
    """The error says what the path is, and what to do with a folder."""
    (tmp_path / "empty.dcm").touch()
    for path, reason in (
        (tmp_path / "absent.dcm", r"absent\.dcm: No such file"),
        (tmp_path, "is a folder: read a series with read_volume"),
        (tmp_path / "empty.dcm", "it is empty"),
    ):
        with pytest.raises(UnreadableImage, match=reason):
            read_image(path)


def test_importing_the_readers_imports_no_imaging_library() -> None:
    """The client library stays light: DICOM, NIfTI and picture libraries come with the first file."""
    program = (
        "import sys, hilum.images, hilum.masks, hilum.intensity, hilum.planes\n"
        "print(*{'pydicom', 'nibabel', 'PIL', 'gdcm', 'highdicom', 'scipy', 'torch', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    """Where the imaging libraries are not installed, the error says which command installs them."""
    PIL.Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "a.png")
    program = (
        "import sys\n"
        "sys.modules['PIL'] = None\n"  # as if Pillow were not installed
        "from hilum.errors import UnreadableImage\n"
        "from hilum.images import read_image\n"
        "try:\n"
        f"    read_image({str(tmp_path / 'a.png')!r})\n"
        "except UnreadableImage as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 'pip install "hilum[images]"' in done.stdout
