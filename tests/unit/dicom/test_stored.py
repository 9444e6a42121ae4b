"""Decoding one frame, with every limit checked first."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    MPEG4HP41,
    UID,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from hilum.errors import InvalidField, UnreadableImage
from hilum.files import MAX_PIXELS
from hilum.images import frame_count, read_image
from tests.unit.dicom.conftest import WriteDicom


def recoded(path: Path, syntax: UID) -> Path:
    """The same file in another transfer syntax."""
    made = dcmread(path)
    if syntax.is_compressed:
        made.compress(syntax, generate_instance_uid=False)
        made.save_as(path)
        return path
    made.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
        dcmwrite(path, made, implicit_vr=False, little_endian=False)
    else:
        made.save_as(path, implicit_vr=True, little_endian=True)
    return path


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless]
)
def test_lossless_transfer_syntaxes_give_the_same_pixels(write_dicom: WriteDicom, syntax: UID) -> None:
    """However a frame is encoded, its values are those that were stored."""
    stored = np.random.default_rng(3).integers(0, 4096, (2, 32, 48), dtype=np.uint16)
    path = recoded(write_dicom(stored, NumberOfFrames=2, BitsStored=12, HighBit=11), syntax)
    for number in (1, 2):
        image = read_image(path, frame=number)
        np.testing.assert_array_equal(image.pixels, stored[number - 1])
        assert image.pixels.dtype == np.uint16
        assert image.source.frame_number == number


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_signed_pixels_keep_their_sign(write_dicom: WriteDicom, syntax: UID) -> None:
    """Compressed signed values stay negative."""
    stored = np.random.default_rng(4).integers(-2000, 2000, (32, 48), dtype=np.int16)
    image = read_image(recoded(write_dicom(stored), syntax))
    np.testing.assert_array_equal(image.pixels, stored)


def test_a_frame_must_be_named_where_there_are_several(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """Frames count from 1; nothing is chosen silently, and an option of another format is refused."""
    path = write_dicom(np.stack([ramp, ramp + 50]), NumberOfFrames=2)
    assert frame_count(path) == 2
    assert read_image(path, frame=2).pixels[0, 0] == 50
    for options in ({}, {"frame": 0}, {"frame": 3}, {"index": 1}, {"plane": "axial"}):
        with pytest.raises(InvalidField) as error:
            read_image(path, **options)
        assert error.value.field == (next(iter(options)) if options else "frame")


def test_a_single_frame_needs_no_number(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """A file without Number of Frames has one, and its source names none."""
    path = write_dicom(ramp)
    assert frame_count(path) == 1
    assert read_image(path).source.frame_number is None
    np.testing.assert_array_equal(read_image(path, frame=1).pixels, ramp)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Rows": 60000, "Columns": 60000}, f"at most {MAX_PIXELS}"),
        ({"Rows": 5}, "end early: 48 of 60 bytes"),
        ({"NumberOfFrames": 3, "frame": 2}, "end early: 48 of 96 bytes"),
        ({"SamplesPerPixel": 4}, "4 samples per pixel"),
        ({"Rows": 0}, "no pixels"),
    ],
)
def test_headers_that_promise_too_much_are_refused(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16], attributes: dict[str, Any], reason: str
) -> None:
    """Too many pixels, fewer bytes than promised, and impossible sizes are refused before decoding."""
    frame = attributes.pop("frame", None)
    path = write_dicom(ramp[None] if "NumberOfFrames" in attributes else ramp, **attributes)
    with pytest.raises(UnreadableImage, match=reason):
        read_image(path, frame=frame)


def test_missing_attributes_are_refused_with_a_reason(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """No pixel data, no rows, no bits: an error each, that names the file."""
    for keyword in ("PixelData", "Rows", "BitsAllocated", "PhotometricInterpretation", "PixelRepresentation"):
        with pytest.raises(UnreadableImage, match=r"image\.dcm"):
            read_image(write_dicom(ramp, remove=(keyword,)))


def test_video_is_refused_with_what_to_do(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """A transfer syntax without a decoder is named."""
    path = write_dicom(ramp)
    made = dcmread(path)
    made.file_meta.TransferSyntaxUID = MPEG4HP41
    made.PixelData = encapsulate([b"\0" * 64])
    made["PixelData"].VR = "OB"
    made.save_as(path)
    with pytest.raises(UnreadableImage, match=r"not supported \(MPEG-4.*decompress it first"):
        read_image(path)


def test_a_frame_whose_own_size_differs_is_refused_before_decoding(write_dicom: WriteDicom) -> None:
    """A codestream that would fill the memory is found by its own header."""
    path = recoded(write_dicom(np.zeros((32, 48), np.uint16)), JPEG2000Lossless)
    made = dcmread(path)
    frame = bytearray(get_frame(made.PixelData, 0))
    size = frame.index(b"\xff\x51") + 6
    frame[size : size + 8] = (60000).to_bytes(4, "big") * 2
    made.PixelData = encapsulate([bytes(frame)])
    made["PixelData"].VR = "OB"
    made.save_as(path)
    with pytest.raises(UnreadableImage, match="compressed frame is 60000x60000, its header says 32x48"):
        read_image(path)


def test_damaged_frames_are_refused(write_dicom: WriteDicom) -> None:
    """A compressed frame that ends early, or is noise, ends in an error with a reason."""
    stored = np.random.default_rng(5).integers(0, 4096, (64, 64), dtype=np.uint16)
    for syntax in (JPEGLSLossless, JPEG2000Lossless, RLELossless):
        path = recoded(write_dicom(stored), syntax)
        made = dcmread(path)
        frame = get_frame(made.PixelData, 0)
        for damaged in (b"\x17" * 200, frame[:60]):
            made.PixelData = encapsulate([damaged])
            made["PixelData"].VR = "OB"
            made.save_as(path)
            with pytest.raises(UnreadableImage, match=r"image\.dcm"):
                read_image(path)
