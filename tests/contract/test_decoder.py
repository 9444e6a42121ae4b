"""DecoderService as its .proto describes it: the fake and the service."""

from typing import Any

import numpy as np
import pytest

from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import encoder_service_pb2, image_pb2
from tests.contract.messages import array_of, box, mask_of, point, predict_masks
from tests.contract.prompting import GOOD_BOX, HEIGHT, WIDTH, both, box_model, encoded, placed, prompting, refinement
from tests.contract.refusals import refused
from tests.contract.wiring import Caller

# Pixels that may differ where a batch of prompts is computed in another order: logits at the threshold.
BATCH_TOLERANCE_PX = 4


PROMPTS = [
    box(*GOOD_BOX),
    point(40, 30),
    both(box(*GOOD_BOX), point(30, 20, image_pb2.POINT_LABEL_BACKGROUND)),
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
        response = caller.call("PredictMasks", predict_masks(image, alone, both(alone, box(*GOOD_BOX))))
        for result in response.results:
            _check(result.masks[0], mask_of(result.masks[0].mask))


def test_a_placed_crop(caller: Caller) -> None:
    """With a placement, prompts and masks are in full-image pixels, and nothing lies outside the crop."""
    image = encoded(caller).embedding_id
    x, y = 37, 11
    alone = caller.call("PredictMasks", predict_masks(image, box(*GOOD_BOX), point(40, 30)))
    moved = [box(20 + x, 15 + y, 60 + x, 45 + y), point(40 + x, 30 + y)]
    within = caller.call("PredictMasks", predict_masks(image, *moved, **placed(x, y, 150, 200)))
    for before, after in zip(alone.results, within.results, strict=True):
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
    request = prompting(caller)
    origins = [caller.call("PredictMasks", request).timings.embedding_origin for _ in range(2)]
    assert origins == [pb.EMBEDDING_ORIGIN_ENCODER, pb.EMBEDDING_ORIGIN_MEMORY]


def test_the_decoder_revision_may_be_required(caller: Caller) -> None:
    """A request that names the revision that GetCapabilities lists is answered, and the answer names it."""
    model = caller.call("GetCapabilities", encoder_service_pb2.GetCapabilitiesRequest()).models[0]
    response = caller.call("PredictMasks", prompting(caller, decoder_revision=model.decoder_revision))
    assert response.decoder_revision == model.decoder_revision


def test_models_keep_to_themselves(caller: Caller) -> None:
    """An embedding is decoded by the model that made it, and the answer names it."""
    response = caller.call("PredictMasks", box_model(caller, box(*GOOD_BOX)))
    assert response.model == caller.served.box_model


def test_on_a_calibrated_modality_scores_have_a_worth(caller: Caller) -> None:
    """On CT every mask has an expected IoU and may abstain; higher scores never expect less, empty masks nothing."""
    request = prompting(caller, *PROMPTS, box(10.2, 10.2, 10.4, 10.4), multimask_output=True, modality=" CT")
    masks = [mask for result in caller.call("PredictMasks", request).results for mask in result.masks]
    for mask in masks:
        assert mask.score_calibration == pb.SCORE_CALIBRATION_CALIBRATED
        assert mask.HasField("abstain")
        assert 0 <= mask.expected_iou <= 1
        assert mask.area_px or (mask.expected_iou, mask.abstain) == (0, True)
    worth = sorted((mask.iou_prediction, mask.expected_iou, not mask.abstain) for mask in masks if mask.area_px)
    assert [entry[1:] for entry in worth] == sorted(entry[1:] for entry in worth)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"modality": "MR"},
        {"modality": "CT", "simulated": True},
        {"modality": "  "},
        {"modality": "CT", **placed(0, 0, 512, 640)},
    ],
)
def test_elsewhere_scores_are_not_calibrated(caller: Caller, fields: dict[str, Any]) -> None:
    """Without a modality, on another one, on simulated images and in a region the answer says NOT_CALIBRATED only."""
    response = caller.call("PredictMasks", prompting(caller, *PROMPTS, multimask_output=True, **fields))
    for mask in (mask for result in response.results for mask in result.masks):
        assert mask.score_calibration == pb.SCORE_CALIBRATION_NOT_CALIBRATED
        assert not mask.HasField("expected_iou")
        assert not mask.HasField("abstain")


def test_the_modality_changes_no_mask(caller: Caller) -> None:
    """Modality and simulation decide what is said of masks, not the masks."""
    requests = [prompting(caller, *PROMPTS), prompting(caller, *PROMPTS, modality="CT", simulated=True)]
    first, second = (caller.call("PredictMasks", request).results for request in requests)
    assert first == second


@pytest.mark.parametrize("packed", [False, True])
def test_refinement_says_what_it_did(caller: Caller, packed: bool) -> None:
    """With refinement every mask has an outcome, and a refined mask exactly where that is APPLIED."""
    request = prompting(caller, *PROMPTS, multimask_output=True, mask_encoding=2 if packed else 1, **refinement())
    plain = prompting(caller, *PROMPTS, multimask_output=True, mask_encoding=2 if packed else 1)
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
    fields = refinement(offset_x_px=offset[0], offset_y_px=offset[1])
    for result in caller.call("PredictMasks", prompting(caller, **fields)).results:
        expected = (
            pb.REFINEMENT_OUTCOME_KEPT_NOT_COVERED if result.masks[0].area_px else pb.REFINEMENT_OUTCOME_KEPT_EMPTY
        )
        assert result.masks[0].refinement_outcome == expected


def test_embeddings_belong_to_a_tenant(caller: Caller, stranger: Caller) -> None:
    """Another tenant's embedding id is a miss, also after its owner has used it."""
    request = prompting(caller)
    caller.call("PredictMasks", request)
    assert refused(lambda: stranger.call("PredictMasks", request)).reason == "EMBEDDING_NOT_FOUND"
