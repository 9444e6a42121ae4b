"""Names made from content: image digests, embedding ids, transform ids.

Every hashed message starts with a version string and a zero byte, and every field is tagged and carries its length, so
that no two different inputs make the same message. Test vectors stand in protos/hilum/v1: image_digest_vectors.json and
embedding_id_vectors.json.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.types import Identity, IntensityMapping, PercentileRange, Window

DIGEST_BYTES = 32

# hilum.v1.DataType numbers; part of the digest, so they never change.
DATA_TYPE_CODES: dict[str, int] = {"uint8": 1, "uint16": 2, "int16": 3, "float16": 4, "float32": 5}


def little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """Returns the array C-contiguous and little-endian, copying only where it must."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def image_digest(pixels: NDArray[Any]) -> bytes:
    """Returns the SHA-256 of canonical pixels, 32 bytes.

    The message is "hilum.image.v1" and a zero byte, the data type's number (hilum.v1.DataType, one byte), the number of
    axes (one byte), every axis as uint32, and the elements; all little-endian, row-major.

    Args:
        pixels: (height, width) or (height, width, 3) after modality rescale and MONOCHROME1 inversion, before
            intensity mapping; uint8, uint16, int16 or float32.

    Raises:
        ValueError: The data type has no number.
    """
    code = DATA_TYPE_CODES.get(pixels.dtype.name)
    if code is None:
        raise ValueError(f"pixels are {pixels.dtype}; accepted: {', '.join(DATA_TYPE_CODES)}")
    digest = hashlib.sha256(b"hilum.image.v1\0" + struct.pack("<BB", code, pixels.ndim))
    digest.update(struct.pack(f"<{pixels.ndim}I", *pixels.shape))
    digest.update(little_endian(pixels).data)
    return digest.digest()


def embedding_id(
    tenant_key: bytes,
    digest: bytes,
    mapping: IntensityMapping,
    *,
    pixel_aspect: float,
    padding_value: float | None,
    encoder_revision: str,
    compute_precision: str,
    group: str = "",
) -> bytes:
    """Returns the HMAC-SHA-256, under the tenant's key, of everything that decides an embedding.

    The message is "hilum.embedding.v1", a zero byte, and then fields: one byte tag, uint32 length, content. 1: image
    digest. 2: intensity mapping: one byte kind (1 window, 2 percentile, 3 identity) and its two float64 (centre and
    width, lower and upper; none for identity). 3: pixel aspect, float64. 4: encoder revision, UTF-8. 5: compute
    precision class, UTF-8. 6: padding value, float64, left out where there is none. 7: group, UTF-8, left out where
    there is none. All numbers little-endian, and -0.0 as 0.0.
    """
    fields = [
        (1, digest),
        (2, _mapping_bytes(mapping)),
        (3, _float_bytes(pixel_aspect)),
        (4, encoder_revision.encode()),
        (5, compute_precision.encode()),
    ]
    if padding_value is not None:
        fields.append((6, _float_bytes(padding_value)))
    if group:
        fields.append((7, group.encode()))
    return hmac.digest(tenant_key, b"hilum.embedding.v1\0" + _tagged(fields), "sha256")


def content_id(kind: str, fields: list[tuple[int, bytes]]) -> bytes:
    """Returns the SHA-256 of a tagged message of this kind, 32 bytes."""
    return hashlib.sha256(f"hilum.{kind}.v1".encode() + b"\0" + _tagged(fields)).digest()


def _tagged(fields: list[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack("<BI", tag, len(content)) + content for tag, content in fields)


def _float_bytes(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}d", *(value + 0.0 for value in values))


def _mapping_bytes(mapping: IntensityMapping) -> bytes:
    match mapping:
        case Window(center, width):
            return b"\1" + _float_bytes(center, width)
        case PercentileRange(lower, upper):
            return b"\2" + _float_bytes(lower, upper)
        case Identity():
            return b"\3"
