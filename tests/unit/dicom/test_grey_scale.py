"""Stored grey values to the image's own units."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataelem import DataElement

from hilum.images import read_image
from hilum.intensity import grey_levels
from hilum.types import Window
from tests.unit.dicom.conftest import WriteDicom, groups, item


def test_ct_becomes_hounsfield_units_in_int16(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """Rescale slope and intercept apply, and every CT slice has the same type."""
    for stored in (ramp, ramp + 2000):
        image = read_image(write_dicom(stored, BitsStored=12, HighBit=11, RescaleSlope="1", RescaleIntercept="-1024"))
        assert image.pixels.dtype == np.int16
        np.testing.assert_array_equal(image.pixels, stored.astype(int) - 1024)


def test_nothing_wraps_around(write_dicom: WriteDicom) -> None:
    """Values beyond 16 bits after rescale become float32."""
    image = read_image(write_dicom(np.asarray([[0, 65535]], np.uint16), RescaleSlope="1", RescaleIntercept="-40000"))
    assert image.pixels.dtype == np.float32
    assert image.pixels.tolist() == [[-40000.0, 25535.0]]


def test_each_frame_has_its_own_rescale_and_window(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """Enhanced multi-frame files say both per frame, or once for all."""
    frames = [
        {
            "PixelValueTransformationSequence": item(RescaleSlope=str(slope), RescaleIntercept="0"),
            "FrameVOILUTSequence": item(WindowCenter="40", WindowWidth=str(100 * slope), VOILUTFunction="LINEAR_EXACT"),
        }
        for slope in (2, 3)
    ]
    path = write_dicom(np.stack([ramp, ramp]), NumberOfFrames=2, PerFrameFunctionalGroupsSequence=groups(*frames))
    for number, slope in ((1, 2), (2, 3)):
        image = read_image(path, frame=number)
        np.testing.assert_array_equal(image.pixels, ramp * slope)
        assert image.window == Window(40, 100 * slope)
    shared = write_dicom(np.stack([ramp, ramp]), NumberOfFrames=2, SharedFunctionalGroupsSequence=groups(frames[0]))
    np.testing.assert_array_equal(read_image(shared, frame=2).pixels, ramp * 2)


@pytest.mark.parametrize(("slope", "intercept"), [("1", "0"), ("2", "-100"), ("0.5", "3")])
def test_monochrome1_is_inverted_within_its_stored_range(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16], slope: str, intercept: str
) -> None:
    """Higher is always brighter: the least storable value becomes the greatest, in the image's units."""
    options = {"BitsStored": 10, "HighBit": 9, "RescaleSlope": slope, "RescaleIntercept": intercept}
    upright = read_image(write_dicom(1023 - ramp, **options))
    inverted = read_image(
        write_dicom(ramp, PhotometricInterpretation="MONOCHROME1", WindowCenter="5.5", WindowWidth="11", **options)
    )
    np.testing.assert_allclose(inverted.pixels, upright.pixels)
    assert inverted.window is not None
    ends = [float(slope) * value + float(intercept) for value in (0, 1023)]
    assert inverted.window == Window(sum(ends) - 5.0, 10)


def test_inverted_bytes_stay_bytes(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """An 8-bit radiograph stays 8-bit, so that it agrees with a PNG of the same pixels."""
    image = read_image(write_dicom(ramp.astype(np.uint8), PhotometricInterpretation="MONOCHROME1"))
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, 255 - ramp)


@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_modality_table_stands_in_for_rescale(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16], as_bytes: bool
) -> None:
    """Values are looked up; those beyond the table take its ends."""
    entries = (np.arange(10, dtype=np.uint16) ** 2 + 500)[::-1].copy()
    table = item(LUTDescriptor=[10, 4, 16], LUTData=entries.tobytes() if as_bytes else entries.tolist())
    table[0]["LUTDescriptor"].VR = "US"
    table[0]["LUTData"].VR = "OW" if as_bytes else "US"
    image = read_image(write_dicom(ramp, ModalityLUTSequence=table))
    np.testing.assert_array_equal(image.pixels, entries[np.clip(ramp.astype(int) - 4, 0, 9)])


def test_dose_is_in_gray(write_dicom: WriteDicom) -> None:
    """A dose grid's scaling is its rescale."""
    stored = np.asarray([[0, 4_000_000]], np.uint32)
    image = read_image(write_dicom(stored, Modality="RTDOSE", DoseGridScaling="1e-6"))
    assert image.pixels.tolist() == [[0.0, 4.0]]


@pytest.mark.parametrize(
    ("stored", "attributes", "expected"),
    [
        (np.asarray([[-2000, 5]], np.int16), {"PixelPaddingValue": -2000}, -3024.0),
        (
            np.asarray([[-2000, 5]], np.int16),
            {"PixelPaddingValue": DataElement("PixelPaddingValue", "US", 63536)},
            -3024.0,
        ),
        (np.asarray([[7, 5]], np.uint16), {"PixelPaddingValue": 7}, -1017.0),
        (
            np.asarray([[7, 5]], np.uint16),
            {"PixelPaddingValue": 7, "PhotometricInterpretation": "MONOCHROME1"},
            64504.0,
        ),
        (np.asarray([[7, 5]], np.uint16), {}, None),
    ],
)
def test_padding_is_told_in_the_images_own_units(
    write_dicom: WriteDicom, stored: NDArray[Any], attributes: dict[str, Any], expected: float | None
) -> None:
    """The padding value is rescaled and inverted like the pixels, also where a signed one was written as unsigned."""
    path = write_dicom(stored, RescaleSlope="1", RescaleIntercept="-1024", **attributes)
    image = read_image(path)
    assert image.padding_value == expected
    assert expected is None or image.pixels[0, 0] == expected


def test_a_range_of_padding_becomes_one_value(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """Pixel Padding Range Limit: all values of the range are padding."""
    image = read_image(write_dicom(ramp, PixelPaddingValue=3, PixelPaddingRangeLimit=9))
    assert image.padding_value == 3
    np.testing.assert_array_equal(image.pixels, np.where((ramp >= 3) & (ramp <= 9), 3, ramp))


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"WindowCenter": "40", "WindowWidth": "400"}, Window(39.5, 399)),
        ({"WindowCenter": "40", "WindowWidth": "400", "VOILUTFunction": "LINEAR_EXACT"}, Window(40, 400)),
        ({"WindowCenter": "40", "WindowWidth": "400", "VOILUTFunction": "SIGMOID"}, Window(40, 400)),
        ({"WindowCenter": ["40", "450"], "WindowWidth": ["350", "1500"]}, Window(39.5, 349)),
        ({"WindowCenter": "40", "WindowWidth": "0"}, None),
        ({"WindowCenter": "40"}, None),
        ({}, None),
    ],
)
def test_the_files_window_is_kept_as_linear_exact(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16], attributes: dict[str, Any], expected: Window | None
) -> None:
    """The first of several windows counts, LINEAR is converted exactly, and one without width is none."""
    assert read_image(write_dicom(ramp, **attributes)).window == expected


def test_the_files_window_maps_as_the_standard_says(write_dicom: WriteDicom) -> None:
    """Grey levels under the kept window are those of DICOM's LINEAR function (PS3.3 C.11.2.1.2.1) to the last level."""
    stored = np.arange(-400, 500, dtype=np.int16)[None]
    center, width = 40, 400
    image = read_image(write_dicom(stored, WindowCenter=str(center), WindowWidth=str(width)))
    standard = np.clip(((stored - (center - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)
    assert np.abs(grey_levels(image).astype(float) - standard).max() <= 0.5 + 1e-4
