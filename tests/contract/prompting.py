"""Requests for masks on one picture, and what the tests of the decoder share."""

from typing import Any

from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import encoder_service_pb2, image_pb2
from tests.contract.messages import box, encode_image, picture, predict_masks, tensor
from tests.contract.wiring import Caller

HEIGHT, WIDTH = 60, 80
GOOD_BOX = (20, 15, 60, 45)


def encoded(caller: Caller, seed: int = 0, **fields: Any) -> encoder_service_pb2.EncodeImageResponse:
    """Encodes a picture, (60, 80) pixels."""
    response: encoder_service_pb2.EncodeImageResponse = caller.call(
        "EncodeImage", encode_image(picture(seed=seed), return_embedding=True, **fields)
    )
    return response


def prompting(caller: Caller, *prompts: image_pb2.Prompt, **fields: Any) -> pb.PredictMasksRequest:
    """Returns a request on a picture that it encodes, with one good box where no prompt is given."""
    return predict_masks(encoded(caller).embedding_id, *(prompts or (box(*GOOD_BOX),)), **fields)


def both(first: image_pb2.Prompt, second: image_pb2.Prompt) -> image_pb2.Prompt:
    """Returns two prompts for one target."""
    together = image_pb2.Prompt()
    together.MergeFrom(first)
    together.MergeFrom(second)
    return together


def size(height: int, width: int) -> image_pb2.ImageSize:
    """Returns a size."""
    return image_pb2.ImageSize(height_px=height, width_px=width)


def placed(x: int, y: int, height: int, width: int) -> dict[str, Any]:
    """Returns a request's field `placement`: offset and full size."""
    return {"placement": image_pb2.ImagePlacement(offset_x_px=x, offset_y_px=y, full_size=size(height, width))}


def refinement(**fields: Any) -> dict[str, Any]:
    """Returns a request's field `refinement`, with the picture as patch."""
    known: dict[str, Any] = {"patch": tensor(picture()), "method": pb.REFINEMENT_METHOD_OTSU_BRIGHT}
    return {"refinement": pb.Refinement(**known | fields)}


def box_model(caller: Caller, *prompts: image_pb2.Prompt) -> pb.PredictMasksRequest:
    """Returns a request on a picture that it encodes with the model that understands boxes only."""
    return predict_masks(encoded(caller, model=caller.served.box_model).embedding_id, *prompts)
