"""Nothing that a caller sends brings a service down, or out of its contract."""

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from hilum.v1 import decoder_service_pb2, encoder_service_pb2, image_pb2
from tests.contract.fusing import fusing
from tests.contract.messages import array_of, box, encode_image, mask_of, picture, point, predict_masks, tensor
from tests.contract.mutations import EXAMPLES, answer, mutated, tensors
from tests.contract.refusals import Refusal
from tests.contract.wiring import Caller

UNARY = {
    "EncoderService": ("EncodeImage", "FindMissingEmbeddings", "GetEmbedding", "GetCapabilities"),
    "DecoderService": ("PredictMasks",),
    "FusionService": ("FuseImages", "ResampleImage", "TransformPoints", "GetCapabilities"),
}
PATHS = [f"/hilum.v1.{service}/{method}" for service, methods in UNARY.items() for method in methods]


@pytest.fixture(autouse=True)
def _alive_afterwards(real_caller: Caller) -> Any:
    """Whatever a test sent, the services then encode and decode as before."""
    yield
    image = real_caller.call("EncodeImage", encode_image(picture(seed=77))).embedding_id
    assert real_caller.call("PredictMasks", predict_masks(image, box(20, 15, 60, 45))).results


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_images_gone_wrong(real_caller: Caller, dtype: str) -> None:
    """Any change to a request to encode is answered, with a finite embedding, or refused by the contract."""
    valid = encode_image(picture(seed=3, size=(12, 9), dtype=dtype), return_embedding=True, padding_value=7)

    @EXAMPLES
    @given(request=mutated(lambda: valid))
    def check(request: encoder_service_pb2.EncodeImageRequest) -> None:
        response = answer(lambda: real_caller.call("EncodeImage", request))
        if not isinstance(response, Refusal):
            assert len(response.embedding_id) == 32
            if request.return_embedding:
                assert np.isfinite(array_of(response.embedding.values)).all()

    check()


@pytest.mark.parametrize("message", ["FindMissingEmbeddings", "GetEmbedding"])
def test_questions_gone_wrong(real_caller: Caller, message: str) -> None:
    """Any change to a question about embeddings is answered or refused by the contract."""
    encoded = real_caller.call("EncodeImage", encode_image(picture()))
    valid: Message = encoder_service_pb2.GetEmbeddingRequest(embedding_id=encoded.embedding_id)
    if message == "FindMissingEmbeddings":
        options = encode_image(picture()).options
        valid = encoder_service_pb2.FindMissingEmbeddingsRequest(image_digests=[b"x" * 32] * 2, options=options)

    @EXAMPLES
    @given(request=mutated(lambda: valid))
    def check(request: Any) -> None:
        answer(lambda: real_caller.call(message, request))

    check()


def test_series_gone_wrong(real_caller: Caller) -> None:
    """Items that went wrong are answered beside good ones, and the stream ends well."""
    valid = encoder_service_pb2.EncodeImagesRequest(item_id="bad", image=encode_image(picture(seed=3, size=(12, 9))))
    good = encoder_service_pb2.EncodeImagesRequest(item_id="good", image=encode_image(picture(seed=4)))

    @EXAMPLES
    @given(items=st.lists(mutated(lambda: valid), min_size=1, max_size=4))
    def check(items: list[encoder_service_pb2.EncodeImagesRequest]) -> None:
        answers = list(real_caller.call("EncodeImages", iter([*items, good])))
        assert len(answers) == len(items) + 1
        assert [item.encoded.embedding_id for item in answers if item.item_id == "good"][-1]

    check()


def _prompting(caller: Caller, *, inline: bool) -> decoder_service_pb2.PredictMasksRequest:
    """A valid request that has every field."""
    pixels = picture(seed=5)
    image = caller.call("EncodeImage", encode_image(pixels, return_embedding=True))
    side = caller.served.low_res_size
    prompt = image_pb2.Prompt(box=box(20, 15, 60, 45).box, points=point(40, 30).points)
    with_mask = image_pb2.Prompt(mask_input=tensor(np.zeros((side, side), np.float32)))
    request = predict_masks(
        image.embedding_id,
        prompt,
        with_mask,
        multimask_output=True,
        return_low_res_masks=True,
        placement=image_pb2.ImagePlacement(
            offset_x_px=3, offset_y_px=2, full_size=image_pb2.ImageSize(height_px=70, width_px=90)
        ),
        refinement=decoder_service_pb2.Refinement(
            patch=tensor(picture(seed=5, size=(70, 90))), method=decoder_service_pb2.REFINEMENT_METHOD_OTSU_BRIGHT
        ),
    )
    if inline:
        request.embedding.CopyFrom(image.embedding)
    return request


def _check_masks(response: decoder_service_pb2.PredictMasksResponse) -> None:
    for result in response.results:
        for mask in result.masks:
            assert mask.area_px == np.count_nonzero(mask_of(mask.mask))
            assert 0 <= mask.stability_score <= 1
            if mask.HasField("refined_mask"):
                mask_of(mask.refined_mask)


@pytest.mark.parametrize("inline", [False, True], ids=["by id", "inline"])
def test_prompts_gone_wrong(real_caller: Caller, inline: bool) -> None:
    """Any change to a request for masks is answered, with true masks, or refused by the contract."""
    valid = _prompting(real_caller, inline=inline)

    @EXAMPLES
    @given(request=mutated(lambda: valid))
    def check(request: decoder_service_pb2.PredictMasksRequest) -> None:
        response = answer(lambda: real_caller.call("PredictMasks", request))
        if not isinstance(response, Refusal):
            assert len(response.results) == len(request.prompts)
            _check_masks(response)

    check()


def test_any_finite_logits_are_a_mask_input(real_caller: Caller) -> None:
    """Logits of any size, alternating between extremes, give scores that are numbers, or are refused."""
    image = real_caller.call("EncodeImage", encode_image(picture())).embedding_id
    side = real_caller.served.low_res_size
    values = st.floats(width=32, allow_nan=False, allow_infinity=False)

    @EXAMPLES
    @given(first=values, second=values)
    def check(first: float, second: float) -> None:
        logits = np.where(np.arange(side * side).reshape(side, side) % 3, np.float32(first), np.float32(second))
        prompt = image_pb2.Prompt(mask_input=tensor(logits))
        response = answer(lambda: real_caller.call("PredictMasks", predict_masks(image, prompt)))
        if not isinstance(response, Refusal):
            assert np.isfinite(response.results[0].masks[0].iou_prediction)

    check()


@pytest.mark.parametrize("period", [1, 2, 3])
def test_any_finite_embedding_is_decoded(real_caller: Caller, period: int) -> None:
    """Embeddings of the largest numbers that half precision has give scores that are numbers."""
    embedding = real_caller.call("EncodeImage", encode_image(picture(), return_embedding=True)).embedding
    values = array_of(embedding.values)
    extreme = np.where(np.arange(values.size) % period == 0, 65504, -65504).reshape(values.shape)
    embedding.values.CopyFrom(tensor(extreme.astype(np.float16)))
    request = decoder_service_pb2.PredictMasksRequest(embedding=embedding, prompts=[box(20, 15, 60, 45), point(5, 5)])
    for result in real_caller.call("PredictMasks", request).results:
        assert np.isfinite(result.masks[0].iou_prediction)


def test_any_patch_refines_or_does_not(real_caller: Caller) -> None:
    """Patches of any intensities lead to an outcome."""
    image = real_caller.call("EncodeImage", encode_image(picture(size=(9, 9)))).embedding_id
    method = decoder_service_pb2.REFINEMENT_METHOD_OTSU_BRIGHT

    @EXAMPLES
    @given(
        values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=81, max_size=81)
        | st.sampled_from([[3e38] * 40 + [-3e38] * 41, [1e-45] * 40 + [0.0] * 41])
    )
    def check(values: list[float]) -> None:
        patch = tensor(np.array(values, np.float32).reshape(9, 9))
        refinement = decoder_service_pb2.Refinement(patch=patch, method=method)
        request = predict_masks(image, box(2, 2, 6, 6), multimask_output=True, refinement=refinement)
        response = answer(lambda: real_caller.call("PredictMasks", request))
        assert all(mask.refinement_outcome for mask in response.results[0].masks)

    check()


@pytest.mark.parametrize("path", PATHS)
def test_bytes_that_are_no_message(real_caller: Caller, path: str) -> None:
    """Random bytes, and valid messages cut anywhere, are answered or refused by the contract in every method."""
    whole = {
        "Encoder": encode_image(picture(), return_embedding=True),
        "Decoder": _prompting(real_caller, inline=True),
        "Fusion": fusing(),
    }[path.removeprefix("/hilum.v1.").partition("Service")[0]].SerializeToString()

    @EXAMPLES
    @given(data=st.binary(max_size=64) | st.integers(0, len(whole)).map(lambda end: whole[:end]))
    def check(data: bytes) -> None:
        answer(lambda: real_caller.send_bytes(path, data))

    check()


def test_any_tensor_in_the_place_of_pixels(real_caller: Caller) -> None:
    """Tensors of any shape, type and bytes are encoded or refused by the contract."""

    @EXAMPLES
    @given(pixels=tensors(), aspect=st.floats(0.05, 20), data=st.data())
    def check(pixels: image_pb2.Tensor, aspect: float, data: st.DataObject) -> None:
        request = encode_image(picture(), pixel_aspect=aspect)
        request.pixels.CopyFrom(pixels)
        request.image_digest = data.draw(st.just(b"x" * 32))
        refusal = answer(lambda: real_caller.call("EncodeImage", request))
        assert refusal.reason in {"INVALID_TENSOR", "LIMIT_EXCEEDED", "DIGEST_MISMATCH"}

    check()
