"""Requests of the contract, written field by field: the hilum library's own codecs are not used."""

import hashlib
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.v1 import decoder_service_pb2, encoder_service_pb2, image_pb2

DATA_TYPES = {
    "uint8": image_pb2.DATA_TYPE_UINT8,
    "uint16": image_pb2.DATA_TYPE_UINT16,
    "int16": image_pb2.DATA_TYPE_INT16,
    "float16": image_pb2.DATA_TYPE_FLOAT16,
    "float32": image_pb2.DATA_TYPE_FLOAT32,
}


def picture(seed: int = 0, size: tuple[int, ...] = (60, 80), dtype: str = "int16") -> NDArray[Any]:
    """Returns an image with a bright disc on noise, in -100..1000 for signed types, 0..255 for uint8."""
    noise = np.random.default_rng(seed).uniform(0, 80, size)
    y, x = np.ogrid[: size[0], : size[1]]
    disc = (x - size[1] / 2) ** 2 + (y - size[0] / 2) ** 2 < (min(size[:2]) / 5) ** 2
    return (noise + 120 * (disc if len(size) == 2 else disc[..., None])).astype(dtype)


def tensor(array: NDArray[Any]) -> image_pb2.Tensor:
    """Returns an array as a Tensor."""
    little = array.astype(array.dtype.newbyteorder("<"))
    return image_pb2.Tensor(shape=array.shape, data_type=DATA_TYPES[array.dtype.name], data=little.tobytes())


def array_of(message: image_pb2.Tensor) -> NDArray[Any]:
    """Returns a Tensor as an array."""
    name = next(name for name, code in DATA_TYPES.items() if code == message.data_type)
    return np.frombuffer(message.data, np.dtype(name).newbyteorder("<")).reshape(message.shape)


def digest_of(pixels: NDArray[Any]) -> bytes:
    """Returns the image digest, by the rule in image_digest_vectors.json."""
    header = struct.pack(f"<BB{pixels.ndim}I", DATA_TYPES[pixels.dtype.name], pixels.ndim, *pixels.shape)
    return hashlib.sha256(b"hilum.image.v1\0" + header + tensor(pixels).data).digest()


def options(**fields: Any) -> image_pb2.EncodingOptions:
    """Returns encoding options with a window, unless another mapping is given."""
    if "intensity_mapping" not in fields:
        fields["intensity_mapping"] = window(60, 160)
    return image_pb2.EncodingOptions(**fields)


def window(center: float, width: float) -> image_pb2.IntensityMapping:
    """Returns a window."""
    return image_pb2.IntensityMapping(window=image_pb2.Window(center=center, width=width))


def percentile(lower: float, upper: float) -> image_pb2.IntensityMapping:
    """Returns a percentile stretch."""
    return image_pb2.IntensityMapping(percentile=image_pb2.PercentileRange(lower=lower, upper=upper))


def identity() -> image_pb2.IntensityMapping:
    """Returns the identity mapping."""
    return image_pb2.IntensityMapping(identity=image_pb2.IdentityMapping())


def encode_image(
    pixels: NDArray[Any], *, with_pixels: bool = True, return_embedding: bool = False, **fields: Any
) -> encoder_service_pb2.EncodeImageRequest:
    """Returns a request to encode pixels; `fields` are those of EncodingOptions."""
    return encoder_service_pb2.EncodeImageRequest(
        image_digest=digest_of(pixels),
        pixels=tensor(pixels) if with_pixels else None,
        options=options(**fields),
        return_embedding=return_embedding,
    )


def box(x_min: float, y_min: float, x_max: float, y_max: float) -> image_pb2.Prompt:
    """Returns a prompt of a box."""
    return image_pb2.Prompt(box=image_pb2.Box(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max))


def point(
    x: float, y: float, label: image_pb2.PointLabel.ValueType = image_pb2.POINT_LABEL_FOREGROUND
) -> image_pb2.Prompt:
    """Returns a prompt of one point."""
    labelled = image_pb2.LabelledPoint(point=image_pb2.Point(x=x, y=y), label=label)
    return image_pb2.Prompt(points=[labelled])


def predict_masks(
    embedding_id: bytes, *prompts: image_pb2.Prompt, **fields: Any
) -> decoder_service_pb2.PredictMasksRequest:
    """Returns a request for masks."""
    return decoder_service_pb2.PredictMasksRequest(embedding_id=embedding_id, prompts=prompts, **fields)


def mask_of(message: image_pb2.Mask) -> NDArray[np.bool_]:
    """Returns a mask's pixels, decoded as the comments in image.proto say."""
    height, width = message.size.height_px, message.size.width_px
    if message.WhichOneof("encoding") == "coco_rle":
        runs = list(message.coco_rle.counts)
        assert sum(runs) == height * width
        assert all(runs[1:]), "only the first run may be empty"
        values = np.concatenate([np.full(run, index % 2 == 1) for index, run in enumerate(runs)])
        return values.reshape(width, height).T
    assert message.WhichOneof("encoding") == "packed_bits"
    assert len(message.packed_bits.data) == height * -(-width // 8)
    rows = np.frombuffer(message.packed_bits.data, np.uint8).reshape(height, -1)
    return np.unpackbits(rows, axis=1)[:, :width].astype(np.bool_)
