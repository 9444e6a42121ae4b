"""Requests that DecoderService refuses: the fake and the service."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import image_pb2
from tests.contract.messages import array_of, box, picture, point, predict_masks, tensor
from tests.contract.prompting import (
    GOOD_BOX,
    HEIGHT,
    WIDTH,
    both,
    box_model,
    encoded,
    placed,
    prompting,
    refinement,
    size,
)
from tests.contract.refusals import Case, refused
from tests.contract.wiring import Caller

BAD_LABEL = ("INVALID_FIELD", ".points[0].label")
_NAN = float("nan")
_INF = float("inf")


def _prompt_case(name: str, prompt: image_pb2.Prompt, reason: str, field: str) -> Case:
    """A bad prompt after a good one."""
    path = f"prompts[1]{field}"
    return Case(name, "PredictMasks", lambda caller: prompting(caller, box(*GOOD_BOX), prompt), reason, path)


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


def _mask_input_case(name: str, change: Callable[[Any], Any]) -> Case:
    def build(caller: Caller) -> pb.PredictMasksRequest:
        side = caller.served.low_res_size
        logits = np.asarray(change(np.zeros((side, side), np.float32)))
        return prompting(caller, image_pb2.Prompt(mask_input=tensor(logits)))

    return _case(name, build, "INVALID_TENSOR", "prompts[0].mask_input")


def _modality_case(modality: str) -> Case:
    def build(caller: Caller) -> pb.PredictMasksRequest:
        return prompting(caller, modality=modality)

    return _case(f"modality {modality!r}", build, "INVALID_FIELD", "modality")


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
    _case("257 prompts", lambda caller: prompting(caller, *[box(*GOOD_BOX)] * 257), "LIMIT_EXCEEDED", "prompts"),
    _case("encoding unknown", lambda caller: prompting(caller, mask_encoding=9), "INVALID_FIELD", "mask_encoding"),
    *map(_modality_case, ("ct", "X-RAY", "CT\n", "C" * 17)),
    _case("revision unknown", lambda caller: prompting(caller, decoder_revision="0" * 64), "MODEL_NOT_FOUND"),
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
    _case("points", lambda caller: box_model(caller, point(5, 5)), "PROMPT_NOT_SUPPORTED"),
    _case(
        "box and points", lambda caller: box_model(caller, both(box(*GOOD_BOX), point(5, 5))), "PROMPT_NOT_SUPPORTED"
    ),
    _case("crop outside", lambda caller: prompting(caller, **placed(21, 0, 60, 100)), "OUTSIDE_IMAGE", "placement"),
    _case(
        "offset huge", lambda caller: prompting(caller, **placed(2**32 - 1, 0, 60, 100)), "OUTSIDE_IMAGE", "placement"
    ),
    _case("no full size", lambda caller: prompting(caller, **placed(0, 0, 0, 0)), "OUTSIDE_IMAGE", "placement"),
    _case(
        "full size huge",
        lambda caller: prompting(caller, **placed(0, 0, 2**32 - 1, 2**32 - 1)),
        "LIMIT_EXCEEDED",
        "placement.full_size",
    ),
    _case(
        "full size long",
        lambda caller: prompting(caller, **placed(0, 0, 60, 16385)),
        "LIMIT_EXCEEDED",
        "placement.full_size",
    ),
    _case(
        "answer too large",
        lambda caller: prompting(
            caller, *[box(*GOOD_BOX)] * 256, mask_encoding=2, multimask_output=True, **placed(0, 0, 1000, 1000)
        ),
        "LIMIT_EXCEEDED",
        "prompts",
    ),
    _case("no method", lambda caller: prompting(caller, **refinement(method=0)), "INVALID_FIELD", "refinement.method"),
    _case(
        "method unknown", lambda caller: prompting(caller, **refinement(method=9)), "INVALID_FIELD", "refinement.method"
    ),
    _case("no patch", lambda caller: prompting(caller, **refinement(patch=None)), "INVALID_TENSOR", "refinement.patch"),
    _case(
        "patch in colour",
        lambda caller: prompting(caller, **refinement(patch=tensor(picture(size=(60, 80, 3))))),
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
        "embedding without size", lambda caller: _inline(caller, image_size=size(0, 80)), "INVALID_FIELD", "embedding"
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
    _case("embedding of another input size", lambda caller: _inline(caller, input_size=size(9, 9)), "MODEL_MISMATCH"),
    _case(
        "image size huge",
        lambda caller: _inline(caller, image_size=size(2**32 - 1, 2**32 - 1)),
        "LIMIT_EXCEEDED",
        "embedding.image_size",
    ),
    _case(
        "image size long",
        lambda caller: _inline(caller, image_size=size(1, 16385)),
        "LIMIT_EXCEEDED",
        "embedding.image_size",
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_refusals(caller: Caller, case: Case) -> None:
    """Every bad request is refused as a whole, with the reason and the field path that the contract promises."""
    request = case.request(caller)
    refusal = refused(lambda: caller.call(case.method, request))
    assert (refusal.reason, refusal.field) == (case.reason, case.field)
