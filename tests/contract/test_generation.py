"""GenerateMasks as its .proto describes it: the fake and the service."""

from typing import Any

import cv2
import numpy as np
import pytest

from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import image_pb2
from tests.contract.messages import encode_image, mask_of, picture, tensor
from tests.contract.prompting import HEIGHT, WIDTH, encoded, size
from tests.contract.refusals import Case, refused
from tests.contract.wiring import Caller

# Every mask of every point, whatever the model thinks of it.
EVERYTHING: dict[str, Any] = {"points_per_side": 4, "pred_iou_thresh": 0, "stability_score_thresh": 0}
_NAN = float("nan")


def everything(caller: Caller, **fields: Any) -> pb.GenerateMasksRequest:
    """Returns a request on a picture that it encodes."""
    return pb.GenerateMasksRequest(embedding_id=encoded(caller).embedding_id, **EVERYTHING | fields)


def crop(caller: Caller, x: int = 10, y: int = 5, layer: int = 1, **options: Any) -> pb.GenerationCrop:
    """Returns a crop of the picture, 40 x 30 pixels, encoded."""
    request = encode_image(picture()[y : y + 30, x : x + 40].copy(), **options)
    placement = image_pb2.ImagePlacement(offset_x_px=x, offset_y_px=y, full_size=size(HEIGHT, WIDTH))
    return pb.GenerationCrop(
        embedding_id=caller.call("EncodeImage", request).embedding_id, placement=placement, layer=layer
    )


def answers(caller: Caller, request: pb.GenerateMasksRequest) -> list[pb.GenerateMasksResponse]:
    """Returns all messages of a search."""
    return list(caller.call("GenerateMasks", request))


def masks_in(messages: list[pb.GenerateMasksResponse]) -> list[pb.GeneratedMask]:
    """Returns the masks of all messages."""
    return [mask for message in messages for mask in message.masks.masks]


def test_progress_then_masks_then_a_summary(caller: Caller) -> None:
    """Every batch of points is reported, then come the masks, and the summary with counts and revisions ends it."""
    image = encoded(caller)
    messages = answers(caller, everything(caller, points_per_batch=6))
    kinds = [str(message.WhichOneof("event")) for message in messages]
    assert kinds == sorted(kinds, key=["progress", "masks", "summary"].index)
    steps = [message.progress for message in messages if message.HasField("progress")]
    assert [(step.points_done, step.points_total) for step in steps] == [(6, 16), (12, 16), (16, 16)]
    assert kinds.count("summary") == 1
    summary = messages[-1].summary
    assert summary.mask_count == len(masks_in(messages)) <= steps[-1].candidates
    assert (summary.model, summary.encoder_revision) == (image.model, image.encoder_revision)
    assert len(summary.decoder_revision) == 64
    assert summary.timings.embedding_origin != pb.EMBEDDING_ORIGIN_UNSPECIFIED


@pytest.mark.parametrize("encoding", [0, 1, 2])
def test_masks_and_what_is_said_of_them(caller: Caller, encoding: int) -> None:
    """Masks have the image's size and are not empty; area, box, point and crop are true; the best come first."""
    found = masks_in(answers(caller, everything(caller, mask_encoding=encoding)))
    assert found
    for mask in found:
        said = mask.mask
        assert said.mask.WhichOneof("encoding") == ("packed_bits" if encoding == 2 else "coco_rle")
        pixels = mask_of(said.mask)
        assert pixels.shape == (HEIGHT, WIDTH)
        assert said.area_px == pixels.sum() > 0
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        edges = said.bounding_box
        assert (edges.x_min, edges.x_max) == (columns[0] - 0.5, columns[-1] + 0.5)
        assert (edges.y_min, edges.y_max) == (rows[0] - 0.5, rows[-1] + 0.5)
        assert 0 <= said.stability_score <= 1
        assert not said.HasField("low_res_mask")
        assert mask.point.x in {9.5, 29.5, 49.5, 69.5}
        assert mask.point.y in {7, 22, 37, 52}
        assert mask.crop_box == image_pb2.Box(x_min=-0.5, y_min=-0.5, x_max=WIDTH - 0.5, y_max=HEIGHT - 0.5)
    scores = [mask.mask.iou_prediction for mask in found]
    assert scores == sorted(scores, reverse=True)


def test_thresholds_and_duplicates(caller: Caller) -> None:
    """No mask is returned whose scores are below the thresholds, or whose box overlaps a better one's too much."""
    lenient = masks_in(answers(caller, everything(caller, box_nms_thresh=1)))
    middle = sorted(mask.mask.iou_prediction for mask in lenient)[len(lenient) // 2]
    strict = masks_in(answers(caller, everything(caller, pred_iou_thresh=max(0, middle), box_nms_thresh=0.3)))
    assert len(strict) < len(lenient)
    boxes = [mask.mask.bounding_box for mask in strict]
    assert all(mask.mask.iou_prediction > middle for mask in strict)
    for index, one in enumerate(boxes):
        for other in boxes[:index]:
            width = min(one.x_max, other.x_max) - max(one.x_min, other.x_min) - 1
            height = min(one.y_max, other.y_max) - max(one.y_min, other.y_min) - 1
            common = max(0, width) * max(0, height)
            areas = [(box.x_max - box.x_min - 1) * (box.y_max - box.y_min - 1) for box in (one, other)]
            assert common <= 0.3 * (sum(areas) - common) + 1e-6


def test_both_encodings_and_both_sources_are_the_same_masks(caller: Caller) -> None:
    """Run lengths and packed bits, and an embedding by id and one in the request, give the same masks."""
    by_id = answers(caller, everything(caller, mask_encoding=1))
    packed = image_pb2.MASK_ENCODING_PACKED_BITS
    inline = pb.GenerateMasksRequest(embedding=encoded(caller).embedding, mask_encoding=packed, **EVERYTHING)
    again = answers(caller, inline)
    assert again[-1].summary.timings.embedding_origin == pb.EMBEDDING_ORIGIN_INLINE
    for one, other in zip(masks_in(by_id), masks_in(again), strict=True):
        assert np.array_equal(mask_of(one.mask.mask), mask_of(other.mask.mask))
        assert one.point == other.point


def test_crops_are_searched_with_thinner_grids(caller: Caller) -> None:
    """A crop's grid is thinned out by its layer; its masks lie in the full image, in the crop and not at its edges."""
    request = everything(caller, crop_n_points_downscale_factor=2)
    request.crops.append(crop(caller))
    request.crops.append(crop(caller, x=40, y=30, layer=2))
    messages = answers(caller, request)
    assert messages[0].progress.points_total == 16 + 4 + 1
    whole = image_pb2.Box(x_min=-0.5, y_min=-0.5, x_max=WIDTH - 0.5, y_max=HEIGHT - 0.5)
    edges = {(-0.5, -0.5, 79.5, 59.5), (9.5, 4.5, 49.5, 34.5), (39.5, 29.5, 79.5, 59.5)}
    for mask in masks_in(messages):
        box, inner = mask.crop_box, mask.mask.bounding_box
        assert (box.x_min, box.y_min, box.x_max, box.y_max) in edges
        assert box.x_min <= inner.x_min < inner.x_max <= box.x_max
        assert mask_of(mask.mask.mask).shape == (HEIGHT, WIDTH)
        if box != whole and box.x_min == 9.5:
            assert inner.x_min - box.x_min > 20


def test_defaults_are_segment_anythings(caller: Caller) -> None:
    """Absent parameters are those of SamAutomaticMaskGenerator: 1024 points, 64 at a time."""
    request = pb.GenerateMasksRequest(embedding_id=encoded(caller).embedding_id)
    call = caller.call("GenerateMasks", request)
    first = next(iter(call)).progress
    call.cancel()
    assert (first.points_done, first.points_total) == (64, 1024)


def test_who_leaves_makes_room(caller: Caller) -> None:
    """A search that its caller cancels ends, and the next one is answered."""
    call = caller.call("GenerateMasks", everything(caller, points_per_side=128, points_per_batch=1))
    next(iter(call))
    call.cancel()
    assert answers(caller, everything(caller))[-1].HasField("summary")


def _case(name: str, build: Any, reason: str, field: str = "") -> Case:
    return Case(name, "GenerateMasks", build, reason, field)


def _number(name: str, value: float, reason: str = "INVALID_FIELD") -> Case:
    return _case(f"{name} {value}", lambda caller: everything(caller, **{name: value}), reason, name)


def _with_crop(name: str, build: Any, reason: str, field: str) -> Case:
    def request(caller: Caller) -> pb.GenerateMasksRequest:
        return everything(caller, crops=[crop(caller), build(caller)])

    path = f"crops[1]{field}" if field else ""
    return _case(f"crop: {name}", request, reason, path)


def _changed(caller: Caller, **fields: Any) -> pb.GenerationCrop:
    """Returns a crop with some fields replaced."""
    changed = crop(caller)
    for name, value in fields.items():
        if isinstance(value, bytes | int):
            setattr(changed, name, value)
        else:
            getattr(changed, name).CopyFrom(value)
    return changed


def _placed(x: int, height: int) -> image_pb2.ImagePlacement:
    return image_pb2.ImagePlacement(offset_x_px=x, full_size=size(height, WIDTH))


def _unplaced(caller: Caller) -> pb.GenerationCrop:
    return pb.GenerationCrop(embedding_id=crop(caller).embedding_id, layer=1)


def _of_nan(caller: Caller) -> image_pb2.Embedding:
    embedding = encoded(caller).embedding
    embedding.values.CopyFrom(tensor(np.full(tuple(embedding.values.shape), np.nan, np.float16)))
    return embedding


REFUSALS = [
    _case("no embedding", lambda _: pb.GenerateMasksRequest(), "INVALID_FIELD", "embedding_source"),
    _case("id short", lambda _: pb.GenerateMasksRequest(embedding_id=b"x" * 31), "INVALID_FIELD", "embedding_id"),
    _case("id unknown", lambda _: pb.GenerateMasksRequest(embedding_id=b"x" * 32), "EMBEDDING_NOT_FOUND"),
    _case(
        "embedding of NaN",
        lambda caller: pb.GenerateMasksRequest(embedding=_of_nan(caller)),
        "INVALID_TENSOR",
        "embedding.values",
    ),
    _case("encoding unknown", lambda caller: everything(caller, mask_encoding=9), "INVALID_FIELD", "mask_encoding"),
    _case("revision unknown", lambda caller: everything(caller, decoder_revision="0" * 64), "MODEL_NOT_FOUND"),
    _case(
        "model of boxes",
        lambda caller: pb.GenerateMasksRequest(
            embedding_id=encoded(caller, model=caller.served.box_model).embedding_id
        ),
        "PROMPT_NOT_SUPPORTED",
    ),
    *(
        _number(name, value, reason)
        for name, limit in (("points_per_side", 128), ("points_per_batch", 64), ("crop_n_points_downscale_factor", 128))
        for value, reason in ((0, "INVALID_FIELD"), (limit + 1, "LIMIT_EXCEEDED"), (2**32 - 1, "LIMIT_EXCEEDED"))
    ),
    *(
        _number(name, value)
        for name in ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh", "crop_nms_thresh")
        for value in (-0.1, 1.1, _NAN)
    ),
    *(_number("stability_score_offset", value) for value in (0, -1, 100.5, _NAN, float("inf"))),
    _case("21 crops", lambda caller: everything(caller, crops=[pb.GenerationCrop()] * 21), "LIMIT_EXCEEDED", "crops"),
    _with_crop("no embedding", lambda _: pb.GenerationCrop(layer=1), "INVALID_FIELD", ".embedding_source"),
    _with_crop("id short", lambda caller: _changed(caller, embedding_id=b"x" * 31), "INVALID_FIELD", ".embedding_id"),
    _with_crop("id unknown", lambda caller: _changed(caller, embedding_id=b"x" * 32), "EMBEDDING_NOT_FOUND", ""),
    _with_crop(
        "embedding of NaN",
        lambda caller: _changed(caller, embedding=_of_nan(caller)),
        "INVALID_TENSOR",
        ".embedding.values",
    ),
    _with_crop("no placement", _unplaced, "INVALID_FIELD", ".placement"),
    _with_crop("layer 0", lambda caller: _changed(caller, layer=0), "INVALID_FIELD", ".layer"),
    _with_crop("layer 9", lambda caller: _changed(caller, layer=9), "INVALID_FIELD", ".layer"),
    _with_crop(
        "outside", lambda caller: _changed(caller, placement=_placed(41, HEIGHT)), "OUTSIDE_IMAGE", ".placement"
    ),
    _with_crop(
        "of another image",
        lambda caller: _changed(caller, placement=_placed(0, HEIGHT + 1)),
        "INVALID_FIELD",
        ".placement.full_size",
    ),
    _with_crop(
        "full size long",
        lambda caller: _changed(caller, placement=_placed(0, 2**32 - 1)),
        "LIMIT_EXCEEDED",
        ".placement.full_size",
    ),
    _with_crop("of another model", lambda caller: crop(caller, model=caller.served.box_model), "MODEL_MISMATCH", ""),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_refusals(caller: Caller, case: Case) -> None:
    """Every bad request is refused before the first message, with the reason and the field path of the contract."""
    request = case.request(caller)
    refusal = refused(lambda: next(iter(caller.call(case.method, request))))
    assert (refusal.reason, refusal.field) == (case.reason, case.field)


def test_small_regions_are_removed(caller: Caller) -> None:
    """With min_mask_region_area no mask has an island that small beside others; area and pixels still agree."""
    found = masks_in(answers(caller, everything(caller, min_mask_region_area=30)))
    assert found
    for mask in found:
        pixels = mask_of(mask.mask.mask)
        assert mask.mask.area_px == pixels.sum()
        _, _, statistics, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(pixels, np.uint8), connectivity=8)
        areas = statistics[1:, cv2.CC_STAT_AREA]
        assert len(areas) == 1 or areas.min() >= 30


def test_tenants_do_not_share_embeddings(caller: Caller, stranger: Caller) -> None:
    """An embedding id of one tenant is unknown to another."""
    request = everything(caller)
    assert refused(lambda: next(iter(stranger.call("GenerateMasks", request)))).reason == "EMBEDDING_NOT_FOUND"
