"""What compressed frames say of themselves."""

import io

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.dicom.codestream import Codestream, codestream


def encoded(kind: str, **options: object) -> bytes:
    """A picture of 24 rows and 40 columns."""
    stream = io.BytesIO()
    PIL.Image.fromarray(np.zeros((24, 40), np.uint8)).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "frame",
    [
        encoded("JPEG"),
        encoded("JPEG", progressive=True),
        encoded("JPEG", comment="longer than a marker"),
        encoded("JPEG2000"),
        encoded("JPEG2000", no_jp2=True),
    ],
)
def test_size_and_precision_are_read_from_the_frames_header(frame: bytes) -> None:
    """JPEG and JPEG 2000, with or without a container and comments, tell rows, columns and bits."""
    assert codestream(frame) == Codestream(24, 40, 8)


def test_fill_bytes_before_a_marker_are_skipped() -> None:
    """JPEG allows any number of 0xFF before a marker (ISO/IEC 10918-1 B.1.1.2)."""
    frame = encoded("JPEG")
    assert codestream(frame[:2] + b"\xff\xff" + frame[2:]) == Codestream(24, 40, 8)


@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8", b"\xff\x4f\xff\x51"]))
def test_anything_else_tells_nothing(rest: bytes, start: bytes) -> None:
    """Damaged or foreign bytes give a size or None, never an error."""
    found = codestream(start + rest)
    assert found is None or isinstance(found, Codestream)
