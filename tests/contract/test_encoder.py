"""EncoderService as its .proto describes it: the fake and the service."""

import queue
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from hilum.v1 import encoder_service_pb2 as pb
from hilum.v1 import image_pb2
from tests.contract.messages import (
    array_of,
    digest_of,
    encode_image,
    identity,
    options,
    percentile,
    picture,
    tensor,
    window,
)
from tests.contract.refusals import Case, refusal_of, refused
from tests.contract.wiring import Caller

BAD_TENSOR = ("INVALID_TENSOR", "pixels")


def _with_pixels(**fields: Any) -> pb.EncodeImageRequest:
    """A request whose tensor's fields are replaced; nothing is known under its digest."""
    request = encode_image(picture(seed=1))
    message = image_pb2.Tensor(
        shape=fields.get("shape", request.pixels.shape),
        data_type=fields.get("data_type", request.pixels.data_type),
        data=fields.get("data", request.pixels.data),
    )
    request.pixels.CopyFrom(message)
    return request


def _with_options(**fields: Any) -> pb.EncodeImageRequest:
    return encode_image(picture(seed=1), **fields)


def _digest(data: bytes) -> pb.EncodeImageRequest:
    request = encode_image(picture(seed=1))
    request.image_digest = data
    return request


def _case(name: str, request: pb.EncodeImageRequest, reason: str, field: str = "") -> Case:
    return Case(name, "EncodeImage", lambda _: request, reason, field)


def _purge(name: str, reason: str, field: str, **fields: Any) -> Case:
    return Case(name, "PurgeEmbeddings", lambda _: pb.PurgeEmbeddingsRequest(**fields), reason, field)


def _find(digests: list[bytes], **fields: Any) -> pb.FindMissingEmbeddingsRequest:
    return pb.FindMissingEmbeddingsRequest(image_digests=digests, options=options(**fields))


_NAN = float("nan")
_INF = float("inf")
_FLOATS = picture(dtype="float32")
_NOT_FINITE = [np.where(np.arange(_FLOATS.size).reshape(_FLOATS.shape) == 7, bad, _FLOATS) for bad in (_NAN, _INF)]
_BYTES = picture().nbytes

REFUSALS = [
    _case("group too long", _with_options(group="g" * 129), "INVALID_FIELD", "options.group"),
    _purge("nothing to purge", "INVALID_FIELD", "image_digests"),
    _purge("digest to purge short", "INVALID_FIELD", "image_digests[1]", image_digests=[bytes(32), b"x"]),
    _purge("group to purge too long", "INVALID_FIELD", "group", group="é" * 65),
    _purge("too many digests to purge", "LIMIT_EXCEEDED", "image_digests", image_digests=[bytes(32)] * 4097),
    _case("digest missing", _digest(b""), "INVALID_FIELD", "image_digest"),
    _case("digest short", _digest(b"x" * 31), "INVALID_FIELD", "image_digest"),
    _case("digest long", _digest(b"x" * 33), "INVALID_FIELD", "image_digest"),
    _case("digest of other pixels", _digest(b"x" * 32), "DIGEST_MISMATCH", "image_digest"),
    _case("no pixels", encode_image(picture(seed=1), with_pixels=False), "PIXELS_REQUIRED"),
    _case(
        "mapping missing",
        _with_options(intensity_mapping=image_pb2.IntensityMapping()),
        "INVALID_FIELD",
        "options.intensity_mapping",
    ),
    *(
        _case(
            f"window {center} {width}",
            _with_options(intensity_mapping=window(center, width)),
            "INVALID_FIELD",
            "options.intensity_mapping.window",
        )
        for center, width in ((40, 0), (40, -1), (_NAN, 400), (40, _NAN), (_INF, 400), (40, _INF))
    ),
    *(
        _case(
            f"percentiles {lower} {upper}",
            _with_options(intensity_mapping=percentile(lower, upper)),
            "INVALID_FIELD",
            "options.intensity_mapping.percentile",
        )
        for lower, upper in ((50, 50), (60, 40), (-1, 99), (1, 101), (_NAN, 99), (1, _NAN))
    ),
    *(
        _case(f"aspect {aspect}", _with_options(pixel_aspect=aspect), "INVALID_FIELD", "options.pixel_aspect")
        for aspect in (0, 0.049, 20.1, -1, _NAN, _INF)
    ),
    _case("padding NaN", _with_options(padding_value=_NAN), "INVALID_FIELD", "options.padding_value"),
    _case("model unknown", _with_options(model="no-such-model"), "MODEL_NOT_FOUND"),
    _case("model of 100 kB", _with_options(model="é" * 50_000), "MODEL_NOT_FOUND"),
    _case("type unspecified", _with_pixels(data_type=0), *BAD_TENSOR),
    _case("type unknown", _with_pixels(data_type=99), *BAD_TENSOR),
    _case("type half", encode_image(picture(dtype="float16")), *BAD_TENSOR),
    _case("bytes cut", _with_pixels(data=b"\0" * (_BYTES - 1)), *BAD_TENSOR),
    _case("bytes too many", _with_pixels(data=b"\0" * (_BYTES + 1)), *BAD_TENSOR),
    _case("bytes missing", _with_pixels(data=b""), *BAD_TENSOR),
    _case("no axes", _with_pixels(shape=()), *BAD_TENSOR),
    _case("one axis", _with_pixels(shape=(4800,)), *BAD_TENSOR),
    _case("two channels", encode_image(picture(size=(60, 80, 2))), *BAD_TENSOR),
    _case("four axes", _with_pixels(shape=(60, 80, 1, 1)), *BAD_TENSOR),
    _case("a hundred thousand axes", _with_pixels(shape=[1] * 100_000), *BAD_TENSOR),
    _case("empty axis", _with_pixels(shape=(0, 80), data=b""), *BAD_TENSOR),
    *(_case(f"values {bad.max()}", encode_image(bad), *BAD_TENSOR) for bad in _NOT_FINITE),
    _case("identity of int16", _with_options(intensity_mapping=identity()), *BAD_TENSOR),
    _case("pixels", _with_pixels(shape=(2**32 - 1, 2**32 - 1), data=b""), "LIMIT_EXCEEDED", "pixels"),
    _case("rows", _with_pixels(shape=(16385, 1), data=b"\0" * 2 * 16385), "LIMIT_EXCEEDED", "pixels"),
    _case("only padding", encode_image(np.full((9, 9), -2000, np.int16), padding_value=-2000), "NO_CONTENT"),
    Case(
        "4097 digests", "FindMissingEmbeddings", lambda _: _find([b"x" * 32] * 4097), "LIMIT_EXCEEDED", "image_digests"
    ),
    Case("one short", "FindMissingEmbeddings", lambda _: _find([b"x" * 32, b"x"]), "INVALID_FIELD", "image_digests[1]"),
    Case("model unknown", "FindMissingEmbeddings", lambda _: _find([b"x" * 32], model="no"), "MODEL_NOT_FOUND"),
    Case(
        "mapping missing",
        "FindMissingEmbeddings",
        lambda _: pb.FindMissingEmbeddingsRequest(image_digests=[b"x" * 32]),
        "INVALID_FIELD",
        "options.intensity_mapping",
    ),
    Case("no id", "GetEmbedding", lambda _: pb.GetEmbeddingRequest(), "INVALID_FIELD", "embedding_id"),
    Case(
        "id unknown",
        "GetEmbedding",
        lambda _: pb.GetEmbeddingRequest(embedding_id=b"x" * 32),
        "EMBEDDING_NOT_FOUND",
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: f"{case.method}-{case.name}")
def test_refusals(caller: Caller, case: Case) -> None:
    """Every bad request is refused with the reason and the field path that the contract promises."""
    request = case.request(caller)
    refusal = refused(lambda: caller.call(case.method, request))
    assert (refusal.reason, refusal.field) == (case.reason, case.field)


def test_capabilities(caller: Caller) -> None:
    """GetCapabilities lists the default model first, what each model understands, and the limits."""
    response = caller.call("GetCapabilities", pb.GetCapabilitiesRequest())
    first, second = response.models
    assert [first.name, second.name] == [caller.served.model, caller.served.box_model]
    assert (first.supports_points, first.supports_box, first.supports_mask_input) == (True, True, True)
    assert (first.single_mask_for_click, second.single_mask_for_click) == (True, False)
    assert (second.supports_points, second.supports_box, second.supports_mask_input) == (False, True, False)
    for model in response.models:
        assert len(bytes.fromhex(model.encoder_revision)) == len(bytes.fromhex(model.decoder_revision)) == 32
        assert model.image_size_px > 0
        assert all((model.licence, model.compute_precision, model.backend))
    assert first.encoder_revision != second.encoder_revision
    assert response.limits.max_message_bytes > 0
    assert response.limits.max_image_pixels == 1_000_000
    assert response.limits.max_concurrent_images > 0


def test_pixels_are_sent_once(caller: Caller) -> None:
    """A digest alone asks for pixels once; afterwards it is enough, and the id is the same."""
    pixels = picture()
    asked = encode_image(pixels, with_pixels=False)
    assert refused(lambda: caller.call("EncodeImage", asked)).reason == "PIXELS_REQUIRED"
    first = caller.call("EncodeImage", encode_image(pixels))
    again = caller.call("EncodeImage", asked)
    assert (first.cache_hit, again.cache_hit) == (False, True)
    assert len(first.embedding_id) == 32
    assert first.embedding_id == again.embedding_id
    assert first.model == caller.served.model
    assert not first.HasField("embedding")


def test_everything_that_decides_an_embedding_is_in_its_id(caller: Caller) -> None:
    """Another image, mapping, aspect, padding value or model is another embedding; the same again is the same."""
    pixels = picture(dtype="uint8")
    requests = [
        encode_image(pixels),
        encode_image(picture(seed=5, dtype="uint8")),
        encode_image(pixels, intensity_mapping=window(60, 161)),
        encode_image(pixels, intensity_mapping=percentile(1, 99)),
        encode_image(pixels, intensity_mapping=identity()),
        encode_image(pixels, pixel_aspect=2.0),
        encode_image(pixels, padding_value=0.0),
        encode_image(pixels, model=caller.served.box_model),
    ]
    ids = [caller.call("EncodeImage", request).embedding_id for request in requests]
    assert len(set(ids)) == len(ids)
    same = encode_image(pixels, pixel_aspect=1.0, model=caller.served.model)
    assert caller.call("EncodeImage", same).embedding_id == ids[0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("size", [(60, 80), (60, 80, 3), (1, 1), (1, 300), (300, 1)])
def test_every_data_type_and_shape_is_encoded(caller: Caller, dtype: str, size: tuple[int, ...]) -> None:
    """All four data types are accepted, grey or in colour, down to a single pixel."""
    response = caller.call("EncodeImage", encode_image(picture(size=size, dtype=dtype), return_embedding=True))
    embedding = response.embedding
    assert (embedding.image_size.height_px, embedding.image_size.width_px) == size[:2]
    assert embedding.values.data_type == image_pb2.DATA_TYPE_FLOAT16
    values = array_of(embedding.values)
    assert values.ndim == 3
    assert np.isfinite(values).all()
    assert (embedding.model, embedding.encoder_revision) == (response.model, response.encoder_revision)


@pytest.mark.parametrize(
    ("size", "aspect", "share"),
    [((60, 80), 1.0, (0.75, 1)), ((60, 80), 2.0, (1, 2 / 3)), ((300, 30), 0.1, (1, 1)), ((10, 300), 1.0, (1 / 30, 1))],
)
def test_input_size(caller: Caller, size: tuple[int, int], aspect: float, share: tuple[float, float]) -> None:
    """On the canvas pixels are square and the longest side fits; sides round to the nearest pixel."""
    side = caller.call("GetCapabilities", pb.GetCapabilitiesRequest()).models[0].image_size_px
    request = encode_image(picture(size=size), pixel_aspect=aspect, return_embedding=True)
    input_size = caller.call("EncodeImage", request).embedding.input_size
    assert (input_size.height_px, input_size.width_px) == tuple(int(part * side + 0.5) for part in share)


def test_get_embedding_returns_what_was_encoded(caller: Caller) -> None:
    """GetEmbedding returns by id the very embedding that EncodeImage returned."""
    encoded = caller.call("EncodeImage", encode_image(picture(), return_embedding=True))
    request = pb.GetEmbeddingRequest(embedding_id=encoded.embedding_id)
    assert caller.call("GetEmbedding", request).embedding == encoded.embedding


def test_find_missing(caller: Caller) -> None:
    """FindMissingEmbeddings lists unknown digests in the order asked, each once, per mapping."""
    known, unknown, other = (picture(seed=seed) for seed in (1, 2, 3))
    caller.call("EncodeImage", encode_image(known))
    asked = [digest_of(pixels) for pixels in (other, known, unknown, other)]
    response = caller.call("FindMissingEmbeddings", _find(asked))
    assert list(response.missing_image_digests) == [digest_of(other), digest_of(unknown)]
    response = caller.call("FindMissingEmbeddings", _find([digest_of(known)], pixel_aspect=2.0))
    assert list(response.missing_image_digests) == [digest_of(known)]
    assert not caller.call("FindMissingEmbeddings", _find([])).missing_image_digests


def test_series_answers_every_item(caller: Caller) -> None:
    """Every item of a series is answered under its name, bad ones with the status that EncodeImage would give."""
    cut = encode_image(picture(seed=2))
    cut.pixels.data = cut.pixels.data[:-1]
    items = {
        "good": encode_image(picture(seed=1)),
        "cut": cut,
        "digest only": encode_image(picture(seed=9), with_pixels=False),
        "no such model": encode_image(picture(seed=1), model="no"),
        "also good": encode_image(picture(seed=3)),
        "n" * 129: encode_image(picture(seed=4)),
    }
    requests = [pb.EncodeImagesRequest(item_id=name, image=image) for name, image in items.items()]
    answers = {answer.item_id: answer for answer in caller.call("EncodeImages", iter(requests))}
    assert set(answers) == set(items)
    reasons = {
        name: refusal_of(answer.error).reason if answer.WhichOneof("result") == "error" else "encoded"
        for name, answer in answers.items()
    }
    assert reasons == {
        "good": "encoded",
        "cut": "INVALID_TENSOR",
        "digest only": "PIXELS_REQUIRED",
        "no such model": "MODEL_NOT_FOUND",
        "also good": "encoded",
        "n" * 129: "LIMIT_EXCEEDED",
    }
    assert len(answers["good"].encoded.embedding_id) == 32


def test_series_answers_before_the_next_item(caller: Caller) -> None:
    """An item is answered while the caller has not yet sent another: a caller may wait for each answer."""
    items: queue.Queue[pb.EncodeImagesRequest | None] = queue.Queue()

    def requests() -> Iterator[pb.EncodeImagesRequest]:
        yield from iter(items.get, None)

    answers = caller.call("EncodeImages", requests())
    for name in ("first", "second"):
        items.put(pb.EncodeImagesRequest(item_id=name, image=encode_image(picture(seed=len(name)))))
        assert next(answers).item_id == name
    items.put(None)
    assert list(answers) == []


def test_embeddings_belong_to_a_tenant(caller: Caller, stranger: Caller) -> None:
    """What one tenant encoded is a miss for another: by id, by digest, and in FindMissingEmbeddings."""
    pixels = picture()
    mine = caller.call("EncodeImage", encode_image(pixels))
    by_id = pb.GetEmbeddingRequest(embedding_id=mine.embedding_id)
    assert refused(lambda: stranger.call("GetEmbedding", by_id)).reason == "EMBEDDING_NOT_FOUND"
    by_digest = encode_image(pixels, with_pixels=False)
    assert refused(lambda: stranger.call("EncodeImage", by_digest)).reason == "PIXELS_REQUIRED"
    missing = stranger.call("FindMissingEmbeddings", _find([digest_of(pixels)]))
    assert list(missing.missing_image_digests) == [digest_of(pixels)]
    theirs = stranger.call("EncodeImage", encode_image(pixels))
    assert not theirs.cache_hit
    assert theirs.embedding_id != mine.embedding_id


def test_row_order_is_the_digest_s(caller: Caller) -> None:
    """The digest covers shape and data type: the same bytes in another shape are another image."""
    pixels = picture()
    turned = encode_image(pixels)
    turned.pixels.CopyFrom(tensor(pixels.reshape(80, 60)))
    assert refused(lambda: caller.call("EncodeImage", turned)).reason == "DIGEST_MISMATCH"


def _known(caller: Caller, pixels: Any, **fields: Any) -> bool:
    request = pb.FindMissingEmbeddingsRequest(image_digests=[digest_of(pixels)], options=options(**fields))
    return not caller.call("FindMissingEmbeddings", request).missing_image_digests


def test_a_purged_image_is_not_known_under_any_options(caller: Caller) -> None:
    """By digest, every embedding of an image goes, whatever its options and group; other images stay."""
    image, other = picture(seed=1), picture(seed=2)
    variants: list[dict[str, Any]] = [{}, {"group": "a study"}, {"intensity_mapping": percentile(1, 99)}]
    ids = [caller.call("EncodeImage", encode_image(image, **fields)).embedding_id for fields in variants]
    caller.call("EncodeImage", encode_image(other))
    answer = caller.call("PurgeEmbeddings", pb.PurgeEmbeddingsRequest(image_digests=[digest_of(image)]))
    assert answer.deleted_memory_copies == 3
    assert (answer.replicas_confirmed, answer.replicas_pending) == (1, 0)
    assert not any(_known(caller, image, **fields) for fields in variants)
    assert _known(caller, other)
    for identity_ in ids:
        request = pb.GetEmbeddingRequest(embedding_id=identity_)
        refusal = refused(partial(caller.call, "GetEmbedding", request))
        assert refusal.reason == "EMBEDDING_NOT_FOUND"


def test_a_purged_group_is_not_known(caller: Caller, stranger: Caller) -> None:
    """By group, its images go; the same image in another group, in none, and of another tenant stays."""
    image = picture(seed=3)
    for group in ("study 1", "study 2", ""):
        caller.call("EncodeImage", encode_image(image, group=group))
    stranger.call("EncodeImage", encode_image(image, group="study 1"))
    assert caller.call("PurgeEmbeddings", pb.PurgeEmbeddingsRequest(group="study 1")).deleted_memory_copies == 1
    assert not _known(caller, image, group="study 1")
    assert _known(caller, image, group="study 2")
    assert _known(caller, image)
    assert _known(stranger, image, group="study 1")


def test_a_purged_image_can_be_encoded_again(caller: Caller) -> None:
    """A purge forgets; it does not forbid."""
    request = encode_image(picture(seed=4))
    before = caller.call("EncodeImage", request).embedding_id
    caller.call("PurgeEmbeddings", pb.PurgeEmbeddingsRequest(image_digests=[request.image_digest]))
    again = caller.call("EncodeImage", request)
    assert (again.embedding_id, again.cache_hit) == (before, False)
    assert caller.call("EncodeImage", request).cache_hit
