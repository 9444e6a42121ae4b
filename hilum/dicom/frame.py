"""One frame of a DICOM file as an Image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.dicom.geometry import frame_geometry
from hilum.dicom.grey_scale import file_window, grey_scale, padding
from hilum.dicom.header import DicomFile
from hilum.dicom.lookup import palette
from hilum.dicom.stored import stored_values
from hilum.types import Image, ImageSource, Pixels, Window

_MASK_WINDOW = Window(0.5, 1)


def frame_image(file: DicomFile, frame: int) -> Image:
    """Returns a frame (from 1) of an open file."""
    stored = stored_values(file, frame)
    geometry, source = frame_geometry(file, frame), _source(file, frame)
    header = file.dataset
    if header.get("PhotometricInterpretation") == "PALETTE COLOR" or stored.ndim == 3:
        return Image(_colour(file, stored), geometry, source=source)
    scale = grey_scale(file, frame)
    stored, padded = padding(file, stored)
    pixels = scale.values(stored)
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise file.unreadable("it holds values that are not finite")
    padding_value = None if padded is None else float(scale.values(np.asarray([padded]))[0])
    if padding_value is not None and np.float32(padding_value).astype(pixels.dtype) != padding_value:
        padding_value = None  # no pixel can have it
    window = file_window(file, frame)
    if header.get("BitsAllocated") == 1:
        window = _MASK_WINDOW
    return Image(pixels, geometry, padding_value, None if window is None else scale.window(window), source)


def _colour(file: DicomFile, stored: NDArray[Any]) -> Pixels:
    """RGB uint8; deeper colours keep their upper eight bits, which is what a screen shows."""
    if stored.ndim == 2:
        return palette(file).values(stored).astype(np.uint8)
    if not np.issubdtype(stored.dtype, np.unsignedinteger):
        raise file.unreadable(f"colours are unsigned integers, these are {stored.dtype}")
    bits = int(file.dataset.get("BitsStored") or 8)
    return (stored >> (bits - 8) if bits > 8 else stored).astype(np.uint8, copy=False)


def _source(file: DicomFile, frame: int) -> ImageSource:
    header = file.dataset
    anatomy = file.functional_group("FrameAnatomySequence", frame)
    laterality = anatomy.get("FrameLaterality") or header.get("ImageLaterality") or header.get("Laterality") or ""
    return ImageSource(
        sop_instance_uid=str(header.get("SOPInstanceUID") or ""),
        frame_number=frame if file.frames > 1 else None,
        modality=str(header.get("Modality") or ""),
        laterality=str(laterality),
    )
