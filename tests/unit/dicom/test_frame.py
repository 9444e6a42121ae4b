"""One frame as an Image: colour, masks, float maps and what it came from."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread

from hilum.errors import UnreadableImage
from hilum.images import read_image
from hilum.types import ImageSource, Window
from tests.unit.dicom.conftest import WriteDicom, groups, item


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_colour_keeps_its_upper_eight_bits(write_dicom: WriteDicom, kind: type[np.unsignedinteger]) -> None:
    """Deep colour becomes what a screen shows of it: RGB uint8."""
    rgb = np.random.default_rng(1).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    deep = (rgb.astype(np.uint64) << (8 * np.dtype(kind).itemsize - 8)).astype(kind) | kind(
        0x5A & (np.iinfo(kind).max >> 8)
    )
    image = read_image(write_dicom(deep))
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, rgb)


def test_ybr_becomes_rgb(write_dicom: WriteDicom) -> None:
    """YBR_FULL is converted: equal chroma is grey, high Cr is red."""
    ybr = np.full((2, 2, 3), 128, np.uint8)
    ybr[0, 0] = (76, 85, 255)
    image = read_image(write_dicom(ybr, PhotometricInterpretation="YBR_FULL"))
    assert image.pixels[1, 1].tolist() == [128, 128, 128]
    np.testing.assert_allclose(image.pixels[0, 0], [255, 0, 0], atol=2)


def test_colour_has_no_window_and_no_padding(write_dicom: WriteDicom) -> None:
    """Grey-scale attributes of a colour image say nothing about its colours."""
    image = read_image(write_dicom(np.zeros((4, 6, 3), np.uint8), WindowCenter="40", WindowWidth="80"))
    assert image.window is None
    assert image.padding_value is None


def test_binary_segmentations_are_shown_black_and_white(write_dicom: WriteDicom) -> None:
    """One bit a pixel becomes 0 and 1, with a window that shows them."""
    bits = np.random.default_rng(2).integers(0, 2, (8, 8)).astype(np.uint8)
    path = write_dicom(np.packbits(bits, bitorder="little")[None])
    made = dcmread(path)
    made.Rows, made.Columns, made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 1, 1, 0
    made.save_as(path)
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, bits)
    assert image.window == Window(0.5, 1)


def test_float_maps_are_read_and_must_be_finite(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """Parametric maps give float32; a value that is no number is refused."""
    path = write_dicom(ramp.astype(np.uint32))
    for values in (ramp / np.float32(7), np.where(ramp == 5, np.nan, ramp).astype(np.float32)):
        made = dcmread(path)
        made.pop("PixelData", None)
        made.FloatPixelData = values.astype("<f4").tobytes()
        made.save_as(path)
        if np.isfinite(values).all():
            np.testing.assert_array_equal(read_image(path).pixels, values)
        else:
            with pytest.raises(UnreadableImage, match="not finite"):
                read_image(path)


def test_the_source_names_instance_frame_modality_and_side(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """Results can point back to the very frame, without patient data."""
    path = write_dicom(np.stack([ramp, ramp]), NumberOfFrames=2, Modality="DX", ImageLaterality="R")
    uid = str(dcmread(path).SOPInstanceUID)
    assert read_image(path, frame=2).source == ImageSource(uid, 2, "DX", "R")
    sides = groups({"FrameAnatomySequence": item(FrameLaterality="L")})
    path = write_dicom(ramp, SharedFunctionalGroupsSequence=sides, ImageLaterality="R")
    assert read_image(path).source.laterality == "L"


def test_padding_that_no_pixel_can_have_is_none(write_dicom: WriteDicom) -> None:
    """A padding value beyond the image's type would never be met."""
    stored = np.asarray([[0, 5]], np.int16)
    image = read_image(write_dicom(stored, PixelPaddingValue=-32768, RescaleSlope="1", RescaleIntercept="-1024"))
    assert image.pixels.dtype == np.int16
    assert image.padding_value is None
