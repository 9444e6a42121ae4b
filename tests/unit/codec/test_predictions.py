"""Answers of encoder and decoder as values."""

from typing import Any

import numpy as np
import pytest

from hilum.codec.masks import mask_to_message
from hilum.codec.predictions import (
    check_answer_size,
    encoded_from_message,
    masks_from_response,
    timings_from_message,
)
from hilum.codec.tensors import tensor_to_message
from hilum.errors import InvalidTensor, LimitExceeded
from hilum.types import Box
from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import encoder_service_pb2, image_pb2

MASK = np.zeros((4, 6), np.bool_)
MASK[1:3, 2:5] = True


def _response(**fields: Any) -> pb.PredictMasksResponse:
    known: dict[str, Any] = {"mask": mask_to_message(MASK), "iou_prediction": 0.75, "area_px": 6}
    return pb.PredictMasksResponse(results=[pb.PromptResult(masks=[pb.PredictedMask(**known | fields)])])


def test_a_mask() -> None:
    """A mask comes with its scores and box; what was not sent is empty or None."""
    bounding_box = image_pb2.Box(x_min=1.5, y_min=0.5, x_max=4.5, y_max=2.5)
    ((mask,),) = masks_from_response(_response(bounding_box=bounding_box, stability_score=0.5))
    assert np.array_equal(mask.mask, MASK)
    assert mask.mask is mask.model_mask
    assert (mask.model_score, mask.stability_score, mask.area_px) == (0.75, 0.5, 6)
    assert mask.bounding_box == Box(1.5, 0.5, 4.5, 2.5)
    assert (mask.empty_reason, mask.refinement, mask.low_res_mask) == ("", "", None)


def test_a_refined_mask() -> None:
    """Where refinement acted its mask is the mask, and the model's stays beside it."""
    refined = ~MASK
    outcome = pb.REFINEMENT_OUTCOME_APPLIED
    ((mask,),) = masks_from_response(_response(refined_mask=mask_to_message(refined), refinement_outcome=outcome))
    assert np.array_equal(mask.mask, refined)
    assert np.array_equal(mask.model_mask, MASK)
    assert mask.refinement == "applied"


@pytest.mark.parametrize(
    ("field", "number", "attribute", "expected"),
    [
        ("empty_reason", 1, "empty_reason", "no_logit_above_threshold"),
        ("empty_reason", 2, "empty_reason", "outside_image"),
        ("refinement_outcome", 5, "refinement", "kept_disagrees"),
        ("refinement_outcome", 77, "refinement", "unknown"),
    ],
)
def test_reasons_have_names(field: str, number: int, attribute: str, expected: str) -> None:
    """Enum values arrive as words; one of a newer contract is "unknown"."""
    ((mask,),) = masks_from_response(_response(**{field: number}))
    assert getattr(mask, attribute) == expected


def test_low_res_masks() -> None:
    """Logits arrive as float32, and a server that sends NaN is not believed."""
    logits = np.linspace(-3, 3, 16, dtype=np.float32).reshape(4, 4)
    ((mask,),) = masks_from_response(_response(low_res_mask=tensor_to_message(logits)))
    assert mask.low_res_mask is not None
    assert np.array_equal(mask.low_res_mask, logits)
    with pytest.raises(InvalidTensor):
        masks_from_response(_response(low_res_mask=tensor_to_message(logits * np.float32(np.nan))))


def test_an_encoded_image() -> None:
    """The encoder's answer arrives with its times."""
    message = encoder_service_pb2.EncodeImageResponse(
        embedding_id=b"x" * 32,
        cache_hit=True,
        model="m",
        encoder_revision="ab",
        timings=encoder_service_pb2.EncodeTimings(backend_ms=12.5),
    )
    encoded = encoded_from_message(message)
    assert (encoded.embedding_id, encoded.cache_hit, encoded.model) == (b"x" * 32, True, "m")
    assert encoded.timings_ms["backend_ms"] == 12.5
    assert set(encoded.timings_ms) == {"cache_ms", "preprocess_ms", "backend_ms", "total_ms"}
    assert "embedding_origin" not in timings_from_message(pb.PredictTimings())


@pytest.mark.parametrize(
    ("prompts", "fields", "fits"),
    [
        (256, {}, True),
        (256, {"multimask_output": True}, True),
        (15, {"return_low_res_masks": True}, True),
        (256, {"return_low_res_masks": True}, False),
        (100, {"return_low_res_masks": True, "multimask_output": True}, False),
        (200, {"mask_encoding": image_pb2.MASK_ENCODING_PACKED_BITS}, True),
        (256, {"mask_encoding": image_pb2.MASK_ENCODING_PACKED_BITS, "refinement": pb.Refinement()}, False),
    ],
)
def test_answers_fit_into_a_message(prompts: int, fields: dict[str, Any], fits: bool) -> None:
    """Requests whose packed bits or logits cannot fit into the answer are refused; run lengths always go."""
    request = pb.PredictMasksRequest(**fields)

    def check() -> None:
        check_answer_size(request, prompts, (1500, 1200), 256, max_bytes=64 * 2**20)

    if fits:
        check()
    else:
        with pytest.raises(LimitExceeded) as caught:
            check()
        assert caught.value.field == "prompts"
