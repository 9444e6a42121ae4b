"""Opening DICOM files: what is parsed, what is never parsed, and what is refused."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from hilum.dicom.header import opened
from hilum.errors import UnreadableImage
from hilum.images import frame_count, read_image
from tests.unit.dicom.conftest import WriteDicom


def test_patient_data_are_never_parsed(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """Name, identifier and birth date are skipped, so that nothing can hold, log or warn about them."""
    path = write_dicom(ramp, PatientName="Doe^Jane", PatientID="4711", PatientBirthDate="19700101")
    with opened(path) as file:
        assert not [element for element in file.dataset if element.tag.group == 0x0010]


def test_deflated_files_are_read(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """A deflated data set gives the same pixels."""
    path = write_dicom(ramp)
    made = dcmread(path)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.save_as(path)
    np.testing.assert_array_equal(read_image(path).pixels, ramp)


def test_a_deflated_file_that_grows_without_bounds_is_refused(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16]
) -> None:
    """A small file that inflates to 300 MiB is refused, not held."""
    path = write_dicom(ramp)
    made = dcmread(path)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.save_as(path)
    whole = path.read_bytes()
    start = 132 + 12 + dcmread(path).file_meta.FileMetaInformationGroupLength
    deflater = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    path.write_bytes(whole[:start] + b"".join(deflater.compress(zeros) for _ in range(300)) + deflater.flush())
    with pytest.raises(UnreadableImage, match="inflates to more than 256 MiB"):
        frame_count(path)


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble_are_read(write_dicom: WriteDicom, ramp: NDArray[np.uint16], implicit: bool) -> None:
    """A bare data set, implicit or explicit, is recognised by its first element."""
    path = write_dicom(ramp)
    made = dcmread(path)
    del made.file_meta
    bare = path.with_name("bare")
    made.save_as(bare, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    np.testing.assert_array_equal(read_image(bare).pixels, ramp)


def test_numbers_that_are_none_are_named(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """A Number of Frames that is no number says which attribute is at fault."""
    path = write_dicom(ramp, NumberOfFrames=11)
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x0011", b"IS\x02\x001A"))
    with pytest.raises(UnreadableImage, match="NumberOfFrames is no number"):
        read_image(path)


def test_files_cut_anywhere_are_read_or_refused(write_dicom: WriteDicom, tmp_path: Path) -> None:
    """Whatever byte a file ends at, the answer is its image or UnreadableImage."""
    whole = write_dicom(np.zeros((4, 6), np.uint16), WindowCenter="40", WindowWidth="80").read_bytes()
    cut = tmp_path / "cut.dcm"
    for length in range(1, len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(UnreadableImage, match=r"cut\.dcm"):
            read_image(cut)
