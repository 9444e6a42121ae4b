"""The name that a transform has by its content."""

from __future__ import annotations

import struct

import numpy as np

from hilum.digest import content_id, little_endian
from hilum.geometry import DetectorFrame, Frame, PatientFrame, PlaneFrame
from hilum.image_grid import ImageGrid
from hilum.warp import Warp


def transform_identity(
    warp: Warp, fixed: ImageGrid, moving: ImageGrid, flags: tuple[str, ...], algorithm: str
) -> bytes:
    """Returns the SHA-256 of a transform's content, 32 bytes.

    Fields as in `hilum.digest`: 1 matrix (nine or sixteen float64, row-major), 2 sizes (uint32: fixed [depth,] height
    and width, then moving), 3 and 4 the frames of fixed and moving, 5 flags (sorted names, joined by commas), 6
    algorithm; where there is a displacement field, 7 its shape (uint32: components, [depth,] height, width), 8 its
    grid's matrix (float64, row-major) and 9 its values (float32, row-major).

    A frame is one byte kind, then float64, then the frame of reference UID. Kinds: 1 patient (origin, direction
    row-major, spacing), 2 detector (spacing, magnification or 0), 3 plane (spacing), 4 pixels.
    """
    sizes = (*fixed.size, *moving.size)
    fields = [
        (1, little_endian(warp.matrix).tobytes()),
        (2, struct.pack(f"<{len(sizes)}I", *sizes)),
        (3, _frame_bytes(fixed.geometry.frame)),
        (4, _frame_bytes(moving.geometry.frame)),
        (5, ",".join(flags).encode()),
        (6, algorithm.encode()),
    ]
    if warp.field is not None:
        values = warp.field.values
        fields += [
            (7, struct.pack(f"<{values.ndim}I", *values.shape)),
            (8, little_endian(warp.field.grid).tobytes()),
            (9, little_endian(values).tobytes()),
        ]
    return content_id("transform", fields)


def _frame_bytes(frame: Frame) -> bytes:
    match frame:
        case PatientFrame():
            numbers = [*frame.origin_mm, *np.ravel(frame.direction), *frame.spacing_mm]
            return b"\1" + struct.pack("<15d", *numbers) + frame.frame_of_reference_uid.encode()
        case DetectorFrame(spacing, magnification):
            return b"\2" + struct.pack("<3d", *spacing, magnification or 0.0)
        case PlaneFrame(spacing):
            return b"\3" + struct.pack("<2d", *spacing)
        case _:
            return b"\4"
