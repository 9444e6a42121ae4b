"""A client written from the .proto alone: no hilum library, only generated stubs, hashlib and struct.

It does what a C++ or Java caller would do: hash the pixels, ask for the embedding by digest, send the pixels only when
asked to, prompt with a box, and decode the run lengths.

    python -m examples.without_sdk slice.png 40 60 120 150 --out mask.png

The addresses are those of `python -m services`.
"""

from __future__ import annotations

import argparse
import hashlib
import struct

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2
from numpy.typing import NDArray
from PIL import Image

from hilum.v1 import (
    decoder_service_pb2,
    decoder_service_pb2_grpc,
    encoder_service_pb2,
    encoder_service_pb2_grpc,
    image_pb2,
)

MESSAGE_LIMITS = [("grpc.max_receive_message_length", 1 << 26), ("grpc.max_send_message_length", 1 << 26)]


def digest_of(pixels: NDArray[np.uint8]) -> bytes:
    """Returns the image digest of grey UINT8 pixels (height, width), as image.proto and its test vectors define it."""
    height, width = pixels.shape
    header = b"hilum.image.v1\0" + struct.pack("<BB2I", image_pb2.DATA_TYPE_UINT8, 2, height, width)
    return hashlib.sha256(header + pixels.tobytes()).digest()


def reason_of(error: grpc.RpcError) -> str:
    """Returns the ErrorReason that a service gave, or ""."""
    call: grpc.Call = error  # type: ignore[assignment]  # grpc raises objects that are both
    for key, value in call.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return str(info.reason)
    return ""


def encode(address: str, pixels: NDArray[np.uint8]) -> bytes:
    """Returns the embedding id of grey pixels; sends them only if the service does not know them."""
    request = encoder_service_pb2.EncodeImageRequest(image_digest=digest_of(pixels))
    request.options.intensity_mapping.identity.SetInParent()
    with grpc.insecure_channel(address, options=MESSAGE_LIMITS) as channel:
        encoder = encoder_service_pb2_grpc.EncoderServiceStub(channel)
        try:
            return encoder.EncodeImage(request, timeout=60).embedding_id
        except grpc.RpcError as error:
            if reason_of(error) != "PIXELS_REQUIRED":
                raise
        request.pixels.shape.extend(pixels.shape)
        request.pixels.data_type = image_pb2.DATA_TYPE_UINT8
        request.pixels.data = pixels.tobytes()
        return encoder.EncodeImage(request, timeout=60).embedding_id


def predict(address: str, embedding_id: bytes, box: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """Returns the mask (height, width) for a box (x_min, y_min, x_max, y_max) in pixels."""
    x_min, y_min, x_max, y_max = box
    prompt = image_pb2.Prompt(box=image_pb2.Box(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max))
    request = decoder_service_pb2.PredictMasksRequest(embedding_id=embedding_id, prompts=[prompt])
    with grpc.insecure_channel(address, options=MESSAGE_LIMITS) as channel:
        response = decoder_service_pb2_grpc.DecoderServiceStub(channel).PredictMasks(request, timeout=60)
    return run_lengths_to_mask(response.results[0].masks[0].mask)


def run_lengths_to_mask(mask: image_pb2.Mask) -> NDArray[np.bool_]:
    """Returns the mask of column-major run lengths that start with background."""
    columns = np.zeros(mask.size.width_px * mask.size.height_px, np.bool_)
    position, foreground = 0, False
    for count in mask.coco_rle.counts:
        columns[position : position + count] = foreground
        position, foreground = position + count, not foreground
    return columns.reshape(mask.size.width_px, mask.size.height_px).T


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="a grey picture")
    parser.add_argument("box", nargs=4, type=float, metavar=("X_MIN", "Y_MIN", "X_MAX", "Y_MAX"))
    parser.add_argument("--out", default="mask.png")
    parser.add_argument("--encoder", default="127.0.0.1:50051")
    parser.add_argument("--decoder", default="127.0.0.1:50052")
    options = parser.parse_args()
    pixels = np.asarray(Image.open(options.image).convert("L"))
    x_min, y_min, x_max, y_max = options.box
    mask = predict(options.decoder, encode(options.encoder, pixels), (x_min, y_min, x_max, y_max))
    Image.fromarray(mask.astype(np.uint8) * 255).save(options.out)
    print(f"{int(mask.sum())} px -> {options.out}")


if __name__ == "__main__":
    main()
