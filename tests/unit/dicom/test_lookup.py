"""Palettes: colours looked up right, whichever way the tables are stored."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.uid import ExplicitVRBigEndian

from hilum.errors import UnreadableImage
from hilum.images import read_image
from tests.unit.dicom.conftest import WriteDicom

COLOURS = np.stack([np.arange(30) * 3, np.arange(30)[::-1] * 5, np.arange(30) + 100], axis=1)


def palette(bits: int, first: int, stored_bits: int | None = None) -> dict[str, Any]:
    """Attributes of a palette of COLOURS for stored values from `first`."""
    attributes: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, entries in zip(("Red", "Green", "Blue"), COLOURS.T, strict=True):
        data = entries.astype(np.uint8).tobytes() if bits == 8 else (entries << 8).astype("<u2").tobytes()
        if stored_bits == 8 and bits == 16:
            data = entries.astype("<u2").tobytes()
        attributes[f"{name}PaletteColorLookupTableDescriptor"] = [30, first, bits]
        attributes[f"{name}PaletteColorLookupTableData"] = data
    return attributes


@pytest.mark.parametrize(("bits", "stored_bits"), [(8, None), (16, None), (16, 8)])
def test_palette_colours_become_rgb(
    write_dicom: WriteDicom, ramp: NDArray[np.uint16], bits: int, stored_bits: int | None
) -> None:
    """Eight and sixteen bits, also eight bits in sixteen; values beyond the table take its ends."""
    image = read_image(write_dicom(ramp, **palette(bits, 10, stored_bits)))
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, COLOURS[np.clip(ramp.astype(int) - 10, 0, 29)])
    assert image.window is None


def test_palettes_of_big_endian_files_are_swapped(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """Tables follow the file's byte order."""
    path = write_dicom(ramp.astype(np.uint8), **palette(16, 0))
    made = dcmread(path)
    for name in ("Red", "Green", "Blue"):
        keyword = f"{name}PaletteColorLookupTableData"
        setattr(made, keyword, np.frombuffer(made[keyword].value, "<u2").astype(">u2").tobytes())
    made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dcmwrite(path, made, implicit_vr=False, little_endian=False)
    np.testing.assert_array_equal(read_image(path).pixels, COLOURS[ramp])


def test_segmented_palettes_are_expanded(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """A table in linear segments gives the same colours (PS3.3 C.7.9.2)."""
    attributes: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        # Discrete: one entry of 0; linear: 29 more up to 58.
        attributes[f"{name}PaletteColorLookupTableDescriptor"] = [30, 0, 8]
        attributes[f"Segmented{name}PaletteColorLookupTableData"] = bytes([0, 1, 0, 1, 29, 58])
    image = read_image(write_dicom(ramp, **attributes))
    np.testing.assert_array_equal(image.pixels, np.repeat(2 * ramp[..., None], 3, axis=2))


def test_incomplete_palettes_are_refused(write_dicom: WriteDicom, ramp: NDArray[np.uint16]) -> None:
    """A missing or short table says so."""
    with pytest.raises(UnreadableImage, match="no palette"):
        read_image(write_dicom(ramp, PhotometricInterpretation="PALETTE COLOR"))
    short = palette(8, 0)
    short["GreenPaletteColorLookupTableData"] = b"\0" * 10
    with pytest.raises(UnreadableImage, match="10 of 30 entries"):
        read_image(write_dicom(ramp, **short))
