"""PNG, JPEG, TIFF and BMP: depth kept, turned upright, limits checked first."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import DTypeLike, NDArray

from hilum.errors import InvalidField, UnreadableImage
from hilum.files import MAX_PIXELS
from hilum.geometry import PixelFrame
from hilum.images import frame_count, read_image, read_volume

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
RGB = np.random.default_rng(7).integers(0, 256, (4, 6, 3)).astype(np.uint8)


def saved(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    """A picture of these pixels, in the format of the path's suffix."""
    PIL.Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("pixels", "name", "expected"),
    [
        (GREY, "a.png", np.uint8),
        (GREY, "a.bmp", np.uint8),
        (GREY.astype(np.uint16) * 200, "a.png", np.uint16),
        (GREY.astype(np.uint16) * 200, "a.tiff", np.uint16),
        (GREY.astype(np.int32) - 100, "a.tiff", np.int16),
        (GREY.astype(np.float32) / 3, "a.tiff", np.float32),
        (RGB, "a.png", np.uint8),
        (GREY > 100, "a.png", np.uint8),
    ],
)
def test_pixels_are_kept_in_their_depth(tmp_path: Path, pixels: NDArray[Any], name: str, expected: DTypeLike) -> None:
    """Grey of 8, 16 and 32 bits, floats and colour come back as they were; black and white becomes 0 and 255."""
    image = read_image(saved(tmp_path / name, pixels))
    assert image.pixels.dtype == expected
    np.testing.assert_array_equal(image.pixels, pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels)
    assert image.geometry.frame == PixelFrame()


def test_sixteen_bit_colour_keeps_its_upper_eight_bits(tmp_path: Path) -> None:
    """A PNG of 16-bit RGB becomes RGB uint8, as a DICOM file of it would."""
    deep = (RGB.astype(">u2") << 8) | 0x7F
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 6, 4, 16, 2, 0, 0, 0)
    path = tmp_path / "deep.png"
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    np.testing.assert_array_equal(read_image(path).pixels, RGB)


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    """The EXIF orientation is applied to the pixels."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    path = saved(tmp_path / "turned.tiff", GREY, exif=exif)
    np.testing.assert_array_equal(read_image(path).pixels, np.rot90(GREY, -1))


def test_palettes_become_rgb(tmp_path: Path) -> None:
    """A picture in palette colours is read in its colours."""
    path = tmp_path / "palette.png"
    PIL.Image.fromarray(RGB).quantize(24).save(path)
    np.testing.assert_array_equal(read_image(path).pixels, RGB)


def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path: Path) -> None:
    """A transparent pixel has no value: such a picture is refused; an opaque one is read without its alpha."""
    alpha = np.full((4, 6, 1), 255, np.uint8)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "o.png", np.concatenate([RGB, alpha], 2))).pixels, RGB)
    grey = PIL.Image.fromarray(GREY).convert("LA")
    grey.save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png").pixels, GREY)
    alpha[0, 0] = 254
    with pytest.raises(UnreadableImage, match="transparent in places"):
        read_image(saved(tmp_path / "t.png", np.concatenate([RGB, alpha], 2)))


def test_pages_must_be_named_where_there_are_several(tmp_path: Path) -> None:
    """TIFF pages count from 1, and nothing is chosen silently."""
    pages = [PIL.Image.fromarray(GREY + page) for page in range(3)]
    path = tmp_path / "pages.tiff"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    assert frame_count(path) == 3
    np.testing.assert_array_equal(read_image(path, frame=2).pixels, GREY + 1)
    for options in ({}, {"frame": 0}, {"frame": 4}, {"plane": "axial"}, {"index": 0}):
        with pytest.raises(InvalidField):
            read_image(path, **options)


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    """A small file that would unpack to more than the limit costs nothing."""
    path = tmp_path / "bomb.png"
    PIL.Image.new("1", (8192, 8192)).save(path)
    with pytest.raises(UnreadableImage, match=f"at most {MAX_PIXELS}"):
        read_image(path)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    """A picture cut short, text, a format that is not read, and a volume asked of a picture: a reason each."""
    whole = saved(tmp_path / "whole.png", np.random.default_rng(1).integers(0, 256, (64, 64)).astype(np.uint8))
    (tmp_path / "short.png").write_bytes(whole.read_bytes()[:-1500])
    (tmp_path / "text.png").write_text("this is no picture")
    saved(tmp_path / "film.gif", GREY)
    for name in ("short.png", "text.png", "film.gif"):
        with pytest.raises(UnreadableImage, match=name):
            read_image(tmp_path / name)
    with pytest.raises(UnreadableImage, match="no volume"):
        read_volume(whole)


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """A float TIFF with NaN cannot be sent."""
    values = GREY.astype(np.float32)
    values[0, 0] = np.nan
    with pytest.raises(UnreadableImage, match="not finite"):
        read_image(saved(tmp_path / "nan.tiff", values))
