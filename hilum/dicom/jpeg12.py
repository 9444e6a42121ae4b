"""Twelve-bit lossy JPEG through GDCM, which pydicom's own plugins refuse; no other decoder without GPL reads it."""

from __future__ import annotations

from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

# Spectral selection (processes 6 and 8) and full progression (10 and 12): retired in 2000, in old archives still.
RETIRED_JPEG = frozenset({"1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"})


def decode_jpeg12(data: bytes, syntax: UID, height: int, width: int) -> NDArray[np.uint16]:
    """Returns a grey frame (height, width) of a 12-bit JPEG codestream.

    Raises:
        ValueError: GDCM could not decode it.
    """
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image: Any = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((width, height, 1))
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2"))
    )
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    image.SetDataElement(element)
    # GDCM hands bytes over as text.
    raw = image.GetBuffer().encode("utf-8", "surrogateescape")
    if len(raw) != height * width * 2:
        raise ValueError("its JPEG frame could not be decoded")
    return np.frombuffer(raw, dtype=np.uint16).reshape(height, width)
