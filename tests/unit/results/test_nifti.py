"""NIfTI masks: read again, they lie where the image does."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from hilum.errors import FrameNotSupported, InvalidField
from hilum.geometry import ImageGeometry, PatientFrame, pixel_to_patient
from hilum.images import read_image
from hilum.results.nifti import write_nifti
from hilum.types import Image, ImageSource
from tests.unit.results.conftest import disc, prediction, pydicom_file

C, S = np.cos(0.4), np.sin(0.4)
OBLIQUE = PatientFrame((-12.5, 30.0, 7.25), ((C, -S, 0.0), (S, C, 0.0), (0.0, 0.0, 1.0)), (0.7, 1.9, 2.5), "1.2")


def test_masks_lie_where_the_image_does(tmp_path: Path) -> None:
    """Every labelled voxel's place in RAS is that of its pixel in LPS, turned over."""
    image = Image(np.zeros((40, 60), np.int16), ImageGeometry(OBLIQUE), source=ImageSource(simulated=True))
    first, second = disc(image.size, 20, 10, 5), disc(image.size, 45, 30, 4)
    write_nifti(tmp_path / "mask.nii.gz", image, prediction(ImageSource(), first, second))
    read: Any = nibabel.load(tmp_path / "mask.nii.gz")
    labels = np.asarray(read.dataobj)
    assert labels.shape == (60, 40, 1)
    for number, mask in ((1, first), (2, second)):
        voxels = np.argwhere(labels == number)
        places = voxels @ read.affine[:3, :3].T + read.affine[:3, 3]
        y, x = np.nonzero(mask)
        expected = pixel_to_patient(OBLIQUE, np.stack([x, y], axis=1)) * (-1, -1, 1)
        np.testing.assert_allclose(places[np.lexsort(places.T)], expected[np.lexsort(expected.T)], atol=1e-4)
    assert read.header["sform_code"] == read.header["qform_code"] == 1
    assert read.header.get_xyzt_units()[0] == "mm"
    assert bytes(read.header["descrip"]).decode().startswith("not for diagnosis; simulated; lite-medsam")


def test_a_written_mask_is_read_back_over_its_image(tmp_path: Path) -> None:
    """A real CT slice: its mask, read as an image, has the same place and the same pixels."""
    image = read_image(pydicom_file("CT_small.dcm"))
    mask = disc(image.size, 40, 70, 12)
    write_nifti(tmp_path / "mask.nii", image, prediction(image.source, mask))
    back = read_image(tmp_path / "mask.nii")
    np.testing.assert_array_equal(back.pixels, mask)
    ours, theirs = image.geometry.frame, back.geometry.frame
    assert isinstance(ours, PatientFrame)
    assert isinstance(theirs, PatientFrame)
    corners = np.asarray([[0, 0], [127, 127]])
    np.testing.assert_allclose(pixel_to_patient(theirs, corners), pixel_to_patient(ours, corners), atol=1e-3)


def test_a_slice_of_unknown_thickness_is_written_as_a_millimetre(tmp_path: Path) -> None:
    """NIfTI needs a thickness; the plane itself stays in place."""
    frame = PatientFrame((1, 2, 3), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (0.5, 0.5, 0))
    image = Image(np.zeros((4, 6), np.uint8), ImageGeometry(frame))
    write_nifti(tmp_path / "mask.nii", image, prediction(ImageSource(), np.ones((4, 6), np.bool_)))
    read: Any = nibabel.load(tmp_path / "mask.nii")
    expected = np.asarray([[-0.5, 0, 0, -1], [0, -0.5, 0, -2], [0, 0, 1, 3], [0, 0, 0, 1]])
    np.testing.assert_allclose(read.affine, expected)


def test_what_nifti_cannot_hold_is_refused(tmp_path: Path, grey_image: Image) -> None:
    """No place in the patient, or masks that overlap: an error that says what to write instead."""
    mask = disc(grey_image.size, 20, 20, 5)
    with pytest.raises(FrameNotSupported, match="write a picture or a report"):
        write_nifti(tmp_path / "mask.nii", grey_image, prediction(ImageSource(), mask))
    placed = Image(grey_image.pixels, ImageGeometry(OBLIQUE))
    with pytest.raises(InvalidField, match="masks 1 and 2 overlap"):
        write_nifti(tmp_path / "mask.nii", placed, prediction(ImageSource(), mask, mask))
    assert not (tmp_path / "mask.nii").exists()
