"""Every RPC of the three services, with bytes gone wrong: typed refusals or answers, never a fault of the server."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from hilum.v1 import decoder_service_pb2 as decoder_pb
from hilum.v1 import encoder_service_pb2 as encoder_pb
from hilum.v1 import fusion_service_pb2 as fusion_pb
from tests.contract.fusing import (
    FIXED,
    MOVING,
    evaluating,
    fusing,
    image,
    moving_points,
    projecting,
    registering,
    resampling,
)
from tests.contract.messages import box, encode_image, options, picture, point, predict_masks
from tests.contract.mutations import answer, mutated
from tests.contract.posing import VOXELS, posing
from tests.contract.volumes import registering_volumes
from tests.contract.wiring import Caller
from tests.fuzz.examples import damaged, examples

# What a damaged request asks for may take long: the deadline is a typed answer too.
LIMIT_S = 3.0
SMALL = FIXED[::3, ::3], MOVING[::3, ::3]


def _encode(caller: Caller) -> bytes:
    identity: bytes = caller.call("EncodeImage", encode_image(picture())).embedding_id
    return identity


def _dragged(caller: Caller) -> list[Message]:
    opening = decoder_pb.StreamPredictMasksRequest(opening=predict_masks(_encode(caller), return_low_res_masks=True))
    updates = [decoder_pb.PromptUpdate(sequence_number=n, prompts=[box(9, 9, 20 + n, 30)]) for n in range(2)]
    return [opening, *(decoder_pb.StreamPredictMasksRequest(update=update) for update in updates)]


def _stream_points(_: Caller) -> list[Message]:
    asked = moving_points([(1, 2)] * 3)
    return [fusion_pb.StreamTransformPointsRequest(asked=asked)] * 2


def _series(_: Caller) -> list[Message]:
    return [encoder_pb.EncodeImagesRequest(item_id=str(n), image=encode_image(picture(n, (12, 9)))) for n in range(2)]


# The messages of a valid call, by method.
VALID: dict[str, Any] = {
    "EncoderService/EncodeImage": lambda _: [encode_image(picture(size=(12, 9)), return_embedding=True)],
    "EncoderService/EncodeImages": _series,
    "EncoderService/FindMissingEmbeddings": lambda _: [
        encoder_pb.FindMissingEmbeddingsRequest(image_digests=[b"x" * 32] * 2, options=options())
    ],
    "EncoderService/GetEmbedding": lambda caller: [encoder_pb.GetEmbeddingRequest(embedding_id=_encode(caller))],
    "EncoderService/PurgeEmbeddings": lambda _: [
        encoder_pb.PurgeEmbeddingsRequest(image_digests=[b"x" * 32], group="study-1")
    ],
    "EncoderService/GetCapabilities": lambda _: [encoder_pb.GetCapabilitiesRequest()],
    "DecoderService/PredictMasks": lambda caller: [
        predict_masks(_encode(caller), box(9, 9, 30, 30), point(20, 20), multimask_output=True)
    ],
    "DecoderService/StreamPredictMasks": _dragged,
    "DecoderService/GenerateMasks": lambda caller: [
        decoder_pb.GenerateMasksRequest(embedding_id=_encode(caller), points_per_side=2, points_per_batch=4)
    ],
    "FusionService/RegisterImages": lambda _: [registering(fixed=image(SMALL[0]), moving=image(SMALL[1]))],
    "FusionService/RegisterVolumes": lambda _: list(registering_volumes()),
    "FusionService/EstimatePose": lambda _: list(posing()),
    "FusionService/ProjectVolume": lambda _: list(projecting(np.ascontiguousarray(VOXELS[:6, :6, :6]))),
    "FusionService/FuseImages": lambda _: [fusing()],
    "FusionService/ResampleImage": lambda _: [resampling()],
    "FusionService/EvaluateRegistration": lambda _: [evaluating()],
    "FusionService/TransformPoints": lambda _: [moving_points([(1, 2)] * 3)],
    "FusionService/StreamTransformPoints": _stream_points,
    "FusionService/GetCapabilities": lambda _: [fusion_pb.FusionServiceGetCapabilitiesRequest()],
}
SLOW = {"RegisterImages", "RegisterVolumes", "EstimatePose", "GenerateMasks"}


def test_every_rpc_is_met() -> None:
    """No method of the contract is left out."""
    modules = (encoder_pb, decoder_pb, fusion_pb)
    services = [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
    assert set(VALID) == {f"{service.name}/{method.name}" for service in services for method in service.methods}


@pytest.fixture(autouse=True)
def _alive_afterwards(real_caller: Caller) -> Iterator[None]:
    """Whatever a test sent, the services then encode, decode and fuse as before."""
    yield
    identity = real_caller.call("EncodeImage", encode_image(picture(seed=77))).embedding_id
    assert real_caller.call("PredictMasks", predict_masks(identity, box(20, 15, 60, 45))).results
    assert real_caller.call("FuseImages", fusing()).fused.data


def _sent(caller: Caller, path: str, messages: list[bytes]) -> None:
    try:
        answer(lambda: caller.stream_bytes(path, messages, timeout=LIMIT_S))
    except AssertionError as fault:
        # A deadline that passed is noticed by the client itself, without the service's details.
        cause = fault.__context__
        if not (isinstance(cause, grpc.RpcError) and cause.code() is grpc.StatusCode.DEADLINE_EXCEEDED):
            raise


@pytest.mark.parametrize("method", VALID)
def test_damaged_messages(real_caller: Caller, method: str) -> None:
    """Messages damaged byte by byte, replaced by random bytes, left out or sent twice."""
    valid = [message.SerializeToString() for message in VALID[method](real_caller)]

    @examples(3 if method.partition("/")[2] in SLOW else 12)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        messages = list(valid)
        index = data.draw(st.integers(0, min(3, len(messages) - 1)))
        match data.draw(st.sampled_from(["damage", "random", "leave out", "twice"])):
            case "damage":
                messages[index] = data.draw(damaged(messages[index]))
            case "random":
                messages[index] = data.draw(st.binary(max_size=64))
            case "leave out":
                del messages[index]
            case _:
                messages.insert(index, messages[index])
        _sent(real_caller, f"/hilum.v1.{method}", messages)

    check()


@pytest.mark.parametrize("method", ["EstimatePose", "StreamTransformPoints", "StreamPredictMasks", "GenerateMasks"])
def test_changed_fields(real_caller: Caller, method: str) -> None:
    """Messages whose fields hold anything that their types can hold."""
    path = next(path for path in VALID if path.endswith(f"/{method}"))
    valid = VALID[path](real_caller)

    @examples(4 if method in SLOW else 20)
    @given(data=st.data(), index=st.integers(0, min(2, len(valid) - 1)))
    def check(data: st.DataObject, index: int) -> None:
        messages = [message.SerializeToString() for message in valid]
        messages[index] = data.draw(mutated(lambda: valid[index])).SerializeToString()
        _sent(real_caller, f"/hilum.v1.{path}", messages)

    check()
