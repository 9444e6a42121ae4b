"""DecoderService as its .proto describes it: the fake and the service."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import encoder_service_pb2, image_pb2
from tests.contract.messages import (
    array_of,
    box,
    encode_image,
    mask_of,
    picture,
    point,
    predict_masks,
    tensor,
)
from tests.contract.refusals import Case, refused
from tests.contract.wiring import Caller

HEIGHT, WIDTH = 60, 80
GOOD_BOX = (20, 15, 60, 45)
BAD_LABEL = ("INVALID_FIELD", ".points[0].label")
_NAN = float("nan")
_INF = float("inf")
# Pixels that may differ where a batch of prompts is computed in another order: logits at the threshold.
BATCH_TOLERANCE_PX = 4


def encoded(caller: Caller, seed: int = 0, **fields: Any) -> encoder_service_pb2.EncodeImageResponse:
    """Encodes a picture, (60, 80) pixels."""
    response: encoder_service_pb2.EncodeImageResponse = caller.call(
        "EncodeImage", encode_image(picture(seed=seed), return_embedding=True, **fields)
    )
    return response


def _request(caller: Caller, *prompts: image_pb2.Prompt, **fields: Any) -> pb.PredictMasksRequest:
    return predict_masks(encoded(caller).embedding_id, *(prompts or (box(*GOOD_BOX),)), **fields)


def _prompt_case(name: str, prompt: image_pb2.Prompt, reason: str, field: str) -> Case:
    """A bad prompt after a good one."""
    path = f"prompts[1]{field}"
    return Case(name, "PredictMasks", lambda caller: _request(caller, box(*GOOD_BOX), prompt), reason, path)


def _case(name: str, build: Callable[[Caller], pb.PredictMasksRequest], reason: str, field: str = "") -> Case:
    return Case(name, "PredictMasks", build, reason, field)


def _inline(caller: Caller, **fields: Any) -> pb.PredictMasksRequest:
    """A request with the embedding in it, some of the embedding's fields replaced."""
    embedding = encoded(caller).embedding
    for name, value in fields.items():
        if isinstance(value, str):
            setattr(embedding, name, value)
        else:
            getattr(embedding, name).CopyFrom(value)
    return pb.PredictMasksRequest(embedding=embedding, prompts=[box(*GOOD_BOX)])


def _values(caller: Caller, change: Callable[[Any], Any]) -> pb.PredictMasksRequest:
    values = array_of(encoded(caller).embedding.values)
    return _inline(caller, values=tensor(np.asarray(change(values.copy()))))


def _first_nan(values: Any) -> Any:
    values[0, 0, 0] = np.nan
    return values


def _size(height: int, width: int) -> image_pb2.ImageSize:
    return image_pb2.ImageSize(height_px=height, width_px=width)


def _placed(x: int, y: int, height: int, width: int) -> dict[str, Any]:
    return {"placement": image_pb2.ImagePlacement(offset_x_px=x, offset_y_px=y, full_size=_size(height, width))}


def _refinement(**fields: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"patch": tensor(picture()), "method": pb.REFINEMENT_METHOD_OTSU_BRIGHT}
    return {"refinement": pb.Refinement(**known | fields)}


def _mask_input_case(name: str, change: Callable[[Any], Any]) -> Case:
    def build(caller: Caller) -> pb.PredictMasksRequest:
        side = caller.served.low_res_size
        logits = np.asarray(change(np.zeros((side, side), np.float32)))
        return _request(caller, image_pb2.Prompt(mask_input=tensor(logits)))

    return _case(name, build, "INVALID_TENSOR", "prompts[0].mask_input")


def _box_model(caller: Caller, *prompts: image_pb2.Prompt) -> pb.PredictMasksRequest:
    return predict_masks(encoded(caller, model=caller.served.box_model).embedding_id, *prompts)


_SIXTY_FIVE = image_pb2.Prompt(points=[point(1, 1).points[0]] * 65)

REFUSALS = [
    _case(
        "no embedding",
        lambda _: pb.PredictMasksRequest(prompts=[box(*GOOD_BOX)]),
        "INVALID_FIELD",
        "embedding_source",
    ),
    _case("id short", lambda _: predict_masks(b"x" * 31, box(*GOOD_BOX)), "INVALID_FIELD", "embedding_id"),
    _case("id unknown", lambda _: predict_masks(b"x" * 32, box(*GOOD_BOX)), "EMBEDDING_NOT_FOUND"),
    _case("no prompts", lambda _: predict_masks(b"x" * 32), "INVALID_FIELD", "prompts"),
    _case("257 prompts", lambda caller: _request(caller, *[box(*GOOD_BOX)] * 257), "LIMIT_EXCEEDED", "prompts"),
    _case("encoding unknown", lambda caller: _request(caller, mask_encoding=9), "INVALID_FIELD", "mask_encoding"),
    _case("revision unknown", lambda caller: _request(caller, decoder_revision="0" * 64), "MODEL_NOT_FOUND"),
    _prompt_case("empty", image_pb2.Prompt(), "INVALID_FIELD", ""),
    _prompt_case("label unspecified", point(5, 5, image_pb2.POINT_LABEL_UNSPECIFIED), *BAD_LABEL),
    _prompt_case("label unknown", point(5, 5, image_pb2.PointLabel.ValueType(7)), *BAD_LABEL),
    *(
        _prompt_case(f"point {x} {y}", point(x, y), "INVALID_FIELD", ".points[0].point")
        for x, y in ((_NAN, 5), (5, _NAN), (_INF, 5), (5, -_INF))
    ),
    *(
        _prompt_case(f"point {x} {y}", point(x, y), "OUTSIDE_IMAGE", ".points[0].point")
        for x, y in ((-0.6, 5), (5, -0.6), (WIDTH - 0.4, 5), (5, HEIGHT - 0.4), (1e300, 5))
    ),
    *(
        _prompt_case(f"box {edges}", box(*edges), "INVALID_FIELD", ".box")
        for edges in (
            (10, 5, 10, 20),
            (10, 5, 20, 5),
            (20, 5, 10, 20),
            (_NAN, 5, 10, 20),
            (1, 5, _INF, 20),
            (0, 0, 0, 0),
        )
    ),
    *(
        _prompt_case(f"box {edges}", box(*edges), "OUTSIDE_IMAGE", ".box")
        for edges in ((-9, 5, -0.5, 20), (5, -9, 20, -0.5), (WIDTH - 0.5, 5, 99, 20), (5, HEIGHT - 0.5, 20, 99))
    ),
    _prompt_case("65 points", _SIXTY_FIVE, "LIMIT_EXCEEDED", ".points"),
    _mask_input_case("mask_input cut", lambda logits: logits[1:]),
    _mask_input_case("mask_input of three axes", lambda logits: logits[None]),
    _mask_input_case("mask_input half", lambda logits: logits.astype(np.float16)),
    _mask_input_case("mask_input huge", lambda logits: logits - np.float32(1.1e6)),
    _mask_input_case("mask_input NaN", lambda logits: logits * np.float32(np.nan)),
    _case("points", lambda caller: _box_model(caller, point(5, 5)), "PROMPT_NOT_SUPPORTED"),
    _case(
        "box and points", lambda caller: _box_model(caller, _both(box(*GOOD_BOX), point(5, 5))), "PROMPT_NOT_SUPPORTED"
    ),
    _case("crop outside", lambda caller: _request(caller, **_placed(21, 0, 60, 100)), "OUTSIDE_IMAGE", "placement"),
    _case(
        "offset huge", lambda caller: _request(caller, **_placed(2**32 - 1, 0, 60, 100)), "OUTSIDE_IMAGE", "placement"
    ),
    _case("no full size", lambda caller: _request(caller, **_placed(0, 0, 0, 0)), "OUTSIDE_IMAGE", "placement"),
    _case(
        "full size huge",
        lambda caller: _request(caller, **_placed(0, 0, 2**32 - 1, 2**32 - 1)),
        "LIMIT_EXCEEDED",
        "placement.full_size",
    ),
    _case(
        "full size long",
        lambda caller: _request(caller, **_placed(0, 0, 60, 16385)),
        "LIMIT_EXCEEDED",
        "placement.full_size",
    ),
    _case(
        "answer too large",
        lambda caller: _request(
            caller, *[box(*GOOD_BOX)] * 256, mask_encoding=2, multimask_output=True, **_placed(0, 0, 1000, 1000)
        ),
        "LIMIT_EXCEEDED",
        "prompts",
    ),
    _case("no method", lambda caller: _request(caller, **_refinement(method=0)), "INVALID_FIELD", "refinement.method"),
    _case(
        "method unknown", lambda caller: _request(caller, **_refinement(method=9)), "INVALID_FIELD", "refinement.method"
    ),
    _case("no patch", lambda caller: _request(caller, **_refinement(patch=None)), "INVALID_TENSOR", "refinement.patch"),
    _case(
        "patch in colour",
        lambda caller: _request(caller, **_refinement(patch=tensor(picture(size=(60, 80, 3))))),
        "INVALID_TENSOR",
        "refinement.patch",
    ),
    _case(
        "embedding empty",
        lambda _: pb.PredictMasksRequest(embedding=image_pb2.Embedding(), prompts=[box(*GOOD_BOX)]),
        "INVALID_FIELD",
        "embedding",
    ),
    _case(
        "embedding without size", lambda caller: _inline(caller, image_size=_size(0, 80)), "INVALID_FIELD", "embedding"
    ),
    _case("embedding NaN", lambda caller: _values(caller, _first_nan), "INVALID_TENSOR", "embedding.values"),
    _case(
        "embedding of float32",
        lambda caller: _values(caller, lambda values: values.astype(np.float32)),
        "INVALID_TENSOR",
        "embedding.values",
    ),
    _case(
        "embedding of two axes",
        lambda caller: _values(caller, lambda values: values[0]),
        "INVALID_TENSOR",
        "embedding.values",
    ),
    _case("embedding of another shape", lambda caller: _values(caller, lambda values: values[:, 1:]), "MODEL_MISMATCH"),
    _case("embedding of another encoder", lambda caller: _inline(caller, encoder_revision="0" * 64), "MODEL_MISMATCH"),
    _case("embedding of another input size", lambda caller: _inline(caller, input_size=_size(9, 9)), "MODEL_MISMATCH"),
    _case(
        "image size huge",
        lambda caller: _inline(caller, image_size=_size(2**32 - 1, 2**32 - 1)),
        "LIMIT_EXCEEDED",
        "embedding.image_size",
    ),
    _case(
        "image size long",
        lambda caller: _inline(caller, image_size=_size(1, 16385)),
        "LIMIT_EXCEEDED",
        "embedding.image_size",
    ),
]


def _both(first: image_pb2.Prompt, second: image_pb2.Prompt) -> image_pb2.Prompt:
    together = image_pb2.Prompt()
    together.MergeFrom(first)
    together.MergeFrom(second)
    return together


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_refusals(caller: Caller, case: Case) -> None:
    """Every bad request is refused as a whole, with the reason and the field path that the contract promises."""
    request = case.request(caller)
    refusal = refused(lambda: caller.call(case.method, request))
    assert (refusal.reason, refusal.field) == (case.reason, case.field)


PROMPTS = [
    box(*GOOD_BOX),
    point(40, 30),
    _both(box(*GOOD_BOX), point(30, 20, image_pb2.POINT_LABEL_BACKGROUND)),
    box(0, 0, 9.5, 7.25),
    image_pb2.Prompt(points=[point(40, 30).points[0], point(1, 1, image_pb2.POINT_LABEL_BACKGROUND).points[0]]),
]


def _check(mask: pb.PredictedMask, pixels: Any) -> None:
    """Asserts that what is said of a mask is true of its pixels."""
    assert mask.area_px == np.count_nonzero(pixels)
    assert 0 <= mask.stability_score <= 1
    assert np.isfinite(mask.iou_prediction)
    assert mask.HasField("bounding_box") == bool(mask.area_px)
    assert bool(mask.empty_reason) == (not mask.area_px)
    if mask.area_px:
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        edges = mask.bounding_box
        assert (edges.x_min, edges.x_max) == (columns[0] - 0.5, columns[-1] + 0.5)
        assert (edges.y_min, edges.y_max) == (rows[0] - 0.5, rows[-1] + 0.5)


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("encoding", [0, 1, 2])
def test_masks_and_what_is_said_of_them(caller: Caller, encoding: int, multimask: bool) -> None:
    """Every prompt gets one mask or three, of the image's size, and area, box and scores are those of its pixels."""
    image = encoded(caller)
    request = predict_masks(image.embedding_id, *PROMPTS, multimask_output=multimask, mask_encoding=encoding)
    response = caller.call("PredictMasks", request)
    assert len(response.results) == len(PROMPTS)
    assert (response.model, response.encoder_revision) == (image.model, image.encoder_revision)
    for result in response.results:
        assert len(result.masks) == (3 if multimask else 1)
        for mask in result.masks:
            assert mask.mask.WhichOneof("encoding") == ("packed_bits" if encoding == 2 else "coco_rle")
            pixels = mask_of(mask.mask)
            assert pixels.shape == (HEIGHT, WIDTH)
            _check(mask, pixels)
            assert not mask.HasField("low_res_mask")
            assert not mask.HasField("refined_mask")
            assert mask.refinement_outcome == pb.REFINEMENT_OUTCOME_UNSPECIFIED


def test_both_encodings_are_the_same_mask(caller: Caller) -> None:
    """Run lengths and packed bits carry the same pixels."""
    image = encoded(caller).embedding_id
    answers = [
        caller.call("PredictMasks", predict_masks(image, *PROMPTS, mask_encoding=encoding)) for encoding in (1, 2)
    ]
    for runs, bits in zip(*(answer.results for answer in answers), strict=True):
        assert np.array_equal(mask_of(runs.masks[0].mask), mask_of(bits.masks[0].mask))


def test_results_are_in_the_order_asked(caller: Caller) -> None:
    """Each prompt's answer stands at its place, and is the one it gets when it is asked alone."""
    image = encoded(caller).embedding_id
    together = caller.call("PredictMasks", predict_masks(image, *PROMPTS)).results
    for prompt, result in zip(PROMPTS, together, strict=True):
        (alone,) = caller.call("PredictMasks", predict_masks(image, prompt)).results
        differing = mask_of(alone.masks[0].mask) != mask_of(result.masks[0].mask)
        assert np.count_nonzero(differing) <= BATCH_TOLERANCE_PX
        assert alone.masks[0].iou_prediction == pytest.approx(result.masks[0].iou_prediction, abs=1e-4)


def test_low_res_masks_go_back_in(caller: Caller) -> None:
    """A low_res_mask is FLOAT32 of the model's size, and is accepted as mask_input, alone or beside a box."""
    image, side = encoded(caller).embedding_id, caller.served.low_res_size
    request = predict_masks(image, box(*GOOD_BOX), return_low_res_masks=True, multimask_output=True)
    for mask in caller.call("PredictMasks", request).results[0].masks:
        assert array_of(mask.low_res_mask).dtype == np.float32
        assert array_of(mask.low_res_mask).shape == (side, side)
        alone = image_pb2.Prompt(mask_input=mask.low_res_mask)
        response = caller.call("PredictMasks", predict_masks(image, alone, _both(alone, box(*GOOD_BOX))))
        for result in response.results:
            _check(result.masks[0], mask_of(result.masks[0].mask))


def test_a_placed_crop(caller: Caller) -> None:
    """With a placement, prompts and masks are in full-image pixels, and nothing lies outside the crop."""
    image = encoded(caller).embedding_id
    x, y = 37, 11
    alone = caller.call("PredictMasks", predict_masks(image, box(*GOOD_BOX), point(40, 30)))
    moved = [box(20 + x, 15 + y, 60 + x, 45 + y), point(40 + x, 30 + y)]
    placed = caller.call("PredictMasks", predict_masks(image, *moved, **_placed(x, y, 150, 200)))
    for before, after in zip(alone.results, placed.results, strict=True):
        full = np.zeros((150, 200), np.bool_)
        full[y : y + HEIGHT, x : x + WIDTH] = mask_of(before.masks[0].mask)
        assert np.array_equal(mask_of(after.masks[0].mask), full)
        _check(after.masks[0], full)


def test_a_box_beyond_the_image_is_cut(caller: Caller) -> None:
    """A box that reaches over the image's edges means its part inside, however far it reaches."""
    image = encoded(caller).embedding_id
    inside = box(-0.5, 10, WIDTH - 0.5, HEIGHT - 0.5)
    prompts = [inside, box(-30, 10, 500, 99), box(-1e300, 10, 1e300, 1e300)]
    first, *others = caller.call("PredictMasks", predict_masks(image, *prompts)).results
    for other in others:
        assert other.masks[0].mask == first.masks[0].mask
        assert other.masks[0].iou_prediction == first.masks[0].iou_prediction


def test_an_embedding_in_the_request(caller: Caller) -> None:
    """An inline embedding gives the masks that its id gives, and is not kept."""
    image = encoded(caller)
    by_id = caller.call("PredictMasks", predict_masks(image.embedding_id, *PROMPTS))
    inline = caller.call("PredictMasks", pb.PredictMasksRequest(embedding=image.embedding, prompts=PROMPTS))
    assert inline.results == by_id.results
    assert inline.timings.embedding_origin == pb.EMBEDDING_ORIGIN_INLINE
    assert inline.decoder_revision == by_id.decoder_revision


def test_where_the_embedding_was_found(caller: Caller) -> None:
    """The first prompt on an image finds its embedding at the encoder, the next in the decoder's memory."""
    request = _request(caller)
    origins = [caller.call("PredictMasks", request).timings.embedding_origin for _ in range(2)]
    assert origins == [pb.EMBEDDING_ORIGIN_ENCODER, pb.EMBEDDING_ORIGIN_MEMORY]


def test_the_decoder_revision_may_be_required(caller: Caller) -> None:
    """A request that names the revision that GetCapabilities lists is answered, and the answer names it."""
    model = caller.call("GetCapabilities", encoder_service_pb2.GetCapabilitiesRequest()).models[0]
    response = caller.call("PredictMasks", _request(caller, decoder_revision=model.decoder_revision))
    assert response.decoder_revision == model.decoder_revision


def test_models_keep_to_themselves(caller: Caller) -> None:
    """An embedding is decoded by the model that made it, and the answer names it."""
    response = caller.call("PredictMasks", _box_model(caller, box(*GOOD_BOX)))
    assert response.model == caller.served.box_model


@pytest.mark.parametrize("packed", [False, True])
def test_refinement_says_what_it_did(caller: Caller, packed: bool) -> None:
    """With refinement every mask has an outcome, and a refined mask exactly where that is APPLIED."""
    request = _request(caller, *PROMPTS, multimask_output=True, mask_encoding=2 if packed else 1, **_refinement())
    plain = _request(caller, *PROMPTS, multimask_output=True, mask_encoding=2 if packed else 1)
    answers = zip(caller.call("PredictMasks", request).results, caller.call("PredictMasks", plain).results, strict=True)
    for result, unrefined in answers:
        for mask, model_mask in zip(result.masks, unrefined.masks, strict=True):
            assert mask.mask == model_mask.mask
            assert mask.refinement_outcome != pb.REFINEMENT_OUTCOME_UNSPECIFIED
            applied = mask.refinement_outcome == pb.REFINEMENT_OUTCOME_APPLIED
            assert mask.HasField("refined_mask") == applied
            if applied:
                assert mask_of(mask.refined_mask).shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("offset", [(0, 40), (70, 0), (2**32 - 1, 2**32 - 1)])
def test_refinement_needs_the_surroundings(caller: Caller, offset: tuple[int, int]) -> None:
    """A patch that does not cover the target keeps the model's mask and says so."""
    fields = _refinement(offset_x_px=offset[0], offset_y_px=offset[1])
    for result in caller.call("PredictMasks", _request(caller, **fields)).results:
        expected = (
            pb.REFINEMENT_OUTCOME_KEPT_NOT_COVERED if result.masks[0].area_px else pb.REFINEMENT_OUTCOME_KEPT_EMPTY
        )
        assert result.masks[0].refinement_outcome == expected


def test_embeddings_belong_to_a_tenant(caller: Caller, stranger: Caller) -> None:
    """Another tenant's embedding id is a miss, also after its owner has used it."""
    request = _request(caller)
    caller.call("PredictMasks", request)
    assert refused(lambda: stranger.call("PredictMasks", request)).reason == "EMBEDDING_NOT_FOUND"
