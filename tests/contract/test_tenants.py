"""What one tenant stored is unknown to another, method by method, with tenants that come from identities."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from hilum.errors import from_rpc_error, from_status
from hilum.serving.bundle import Bundle
from hilum.serving.policy import contract_methods
from hilum.serving.tenant import TENANT_METADATA_KEY
from hilum.v1 import decoder_service_pb2 as decoder_pb
from hilum.v1 import encoder_service_pb2 as encoder_pb
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1 import image_pb2
from services.development_ca import caller_token, create
from tests.contract.fusing import (
    FIXED,
    FIXED_CENTRE,
    MOVING,
    evaluating,
    fusing,
    image,
    moving_points,
    pair,
    registering,
    resampling,
)
from tests.contract.messages import box, digest_of, encode_image, options, picture, predict_masks, window
from tests.contract.securing import SecuredCaller, credentials, secured_services, signing_key
from tests.contract.wiring import in_thread

PIXELS = picture(seed=71)
TARGET = box(20, 15, 60, 45)


@dataclass(frozen=True)
class Hospital:
    """A tenant: its token, and a caller that it shares with the others."""

    caller: SecuredCaller
    token: str

    def call(self, method: str, request: Any) -> Any:
        """Calls a method by its short name."""
        return self.caller.call(_path(method), request, self.token)

    def reason(self, method: str, request: Any) -> str:
        """Returns the reason that a call is refused for, "" where it is answered."""
        return self.caller.reason(_path(method), request, self.token)


def _path(method: str) -> str:
    return next(path for path in contract_methods() if path.endswith(f"/{method}"))


@pytest.fixture(scope="module")
def hospitals(sam_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hospital, Hospital]]:
    """Two tenants of the same services."""
    folder: Path = tmp_path_factory.mktemp("secure") / "made"
    create(folder)
    key = signing_key(folder)
    tokens = [caller_token(key, "annotator", "service", tenant=tenant) for tenant in ("st-mary", "st-john")]
    with in_thread(secured_services(sam_bundle, folder)) as endpoints:
        caller = SecuredCaller(endpoints, credentials(folder))
        mary, john = (Hospital(caller, token) for token in tokens)
        yield mary, john
        caller.close()


@pytest.fixture(scope="module")
def embedding_id(hospitals: tuple[Hospital, Hospital]) -> bytes:
    """What the first hospital got for its image, and has prompted once, so that it is hot in the decoder."""
    mary, _ = hospitals
    identity: bytes = mary.call("EncodeImage", encode_image(PIXELS)).embedding_id
    assert mary.call("PredictMasks", predict_masks(identity, TARGET)).results
    return identity


@pytest.fixture(scope="module")
def transform_id(hospitals: tuple[Hospital, Hospital]) -> bytes:
    """A transform that the first hospital registered."""
    mary, _ = hospitals
    request = registering(fixed=image(FIXED, modality="CT"), moving=image(MOVING, modality="CT"))
    result: bytes = mary.call("RegisterImages", request)[-1].result.transform.transform_id
    return result


def _crop(embedding_id: bytes) -> decoder_pb.GenerationCrop:
    height, width = PIXELS.shape
    size = image_pb2.ImageSize(height_px=height, width_px=width)
    return decoder_pb.GenerationCrop(
        embedding_id=embedding_id, placement=image_pb2.ImagePlacement(full_size=size), layer=1
    )


def _find(pixels: Any) -> encoder_pb.FindMissingEmbeddingsRequest:
    return encoder_pb.FindMissingEmbeddingsRequest(image_digests=[digest_of(pixels)], options=options())


# Requests for what the first hospital keeps, by method, from (embedding id, transform reference).
BY_ID: dict[str, Callable[[bytes, pb.TransformReference], Any]] = {
    "GetEmbedding": lambda it, _: encoder_pb.GetEmbeddingRequest(embedding_id=it),
    "EncodeImage": lambda *_: encode_image(PIXELS, with_pixels=False),
    "PredictMasks": lambda it, _: predict_masks(it, TARGET),
    "StreamPredictMasks": lambda it, _: decoder_pb.StreamPredictMasksRequest(opening=predict_masks(it)),
    "GenerateMasks": lambda it, _: decoder_pb.GenerateMasksRequest(embedding_id=it, points_per_side=2),
    "FuseImages": lambda _, it: fusing(transform=it),
    "ResampleImage": lambda _, it: resampling(transform=it),
    "EvaluateRegistration": lambda _, it: evaluating(transform=it),
    "TransformPoints": lambda _, it: moving_points([FIXED_CENTRE], transform=it),
    "StreamTransformPoints": lambda _, it: pb.StreamTransformPointsRequest(
        asked=moving_points([FIXED_CENTRE], transform=it)
    ),
}
UNKNOWN = {"EMBEDDING_NOT_FOUND", "PIXELS_REQUIRED", "TRANSFORM_NOT_FOUND"}
# Tested below, each in its own way.
OTHERWISE = {"EncodeImages", "FindMissingEmbeddings", "PurgeEmbeddings", "RegisterImages"}
# Answer from the request alone.
STATELESS = {"GetCapabilities", "ProjectVolume", "EstimatePose", "RegisterVolumes"}


def test_every_method_is_judged() -> None:
    """Each method of the contract is tried below, or reads nothing that anyone stored."""
    tried = set(BY_ID) | OTHERWISE | STATELESS
    assert tried == {path.rsplit("/", 1)[1] for path in contract_methods()}


@pytest.mark.parametrize("method", BY_ID)
def test_what_is_stored_is_its_tenant_s(
    hospitals: tuple[Hospital, Hospital], embedding_id: bytes, transform_id: bytes, method: str
) -> None:
    """Its owner is answered; another tenant with the same role and the right id hears that nothing is known."""
    mary, john = hospitals
    request = BY_ID[method](embedding_id, pb.TransformReference(transform_id=transform_id))
    assert mary.reason(method, request) == ""
    assert john.reason(method, request) in UNKNOWN


def test_a_header_does_not_choose_the_tenant(hospitals: tuple[Hospital, Hospital], embedding_id: bytes) -> None:
    """The header of trusted proxies is not read where tenants come from identities."""
    _, john = hospitals
    path = _path("GetEmbedding")
    call = john.caller.channel(path).unary_unary(path)
    metadata = (("authorization", f"Bearer {john.token}"), (TENANT_METADATA_KEY, "st-mary"))
    with pytest.raises(grpc.RpcError) as caught:
        call(encoder_pb.GetEmbeddingRequest(embedding_id=embedding_id).SerializeToString(), metadata=metadata)
    assert from_rpc_error(caught.value).reason == "EMBEDDING_NOT_FOUND"


def test_crops_are_their_tenant_s(hospitals: tuple[Hospital, Hospital], embedding_id: bytes) -> None:
    """Another tenant's embedding is unknown as a crop of one's own image, too."""
    _, john = hospitals
    own = john.call("EncodeImage", encode_image(PIXELS)).embedding_id
    request = decoder_pb.GenerateMasksRequest(embedding_id=own, crops=[_crop(embedding_id)])
    assert john.reason("GenerateMasks", request) == "EMBEDDING_NOT_FOUND"


def test_ids_do_not_tell_that_images_are_the_same(hospitals: tuple[Hospital, Hospital], embedding_id: bytes) -> None:
    """The same pixels have another id for another tenant, and are encoded for it anew."""
    _, john = hospitals
    answer = john.call("EncodeImage", encode_image(PIXELS))
    assert answer.embedding_id != embedding_id


def test_series_and_digests_are_their_tenant_s(hospitals: tuple[Hospital, Hospital]) -> None:
    """In a series, and when asking for what is missing, another tenant's image is as unknown as any."""
    mary, john = hospitals
    pixels = picture(seed=72)
    mary.call("EncodeImage", encode_image(pixels))
    assert not mary.call("FindMissingEmbeddings", _find(pixels)).missing_image_digests
    assert list(john.call("FindMissingEmbeddings", _find(pixels)).missing_image_digests) == [digest_of(pixels)]
    item = encoder_pb.EncodeImagesRequest(item_id="1", image=encode_image(pixels, with_pixels=False))
    assert mary.call("EncodeImages", iter([item]))[0].HasField("encoded")
    assert from_status(john.call("EncodeImages", iter([item]))[0].error).reason == "PIXELS_REQUIRED"


def test_nobody_purges_for_another(hospitals: tuple[Hospital, Hospital]) -> None:
    """A purge by digest or by group deletes what its own tenant has, and nothing of another's."""
    mary, john = hospitals
    pixels = picture(seed=73)
    mary.call("EncodeImage", encode_image(pixels))
    mary.call("EncodeImage", encode_image(pixels, group="study-1"))
    purge = encoder_pb.PurgeEmbeddingsRequest(image_digests=[digest_of(pixels)], group="study-1")
    assert not john.call("PurgeEmbeddings", purge).deleted_memory_copies
    assert not mary.call("FindMissingEmbeddings", _find(pixels)).missing_image_digests
    assert mary.call("PurgeEmbeddings", purge).deleted_memory_copies
    assert mary.call("FindMissingEmbeddings", _find(pixels)).missing_image_digests


def test_an_embedding_sent_along_is_not_kept(hospitals: tuple[Hospital, Hospital], embedding_id: bytes) -> None:
    """An inline embedding serves its own call: nobody can put one under another's id, or find it afterwards."""
    mary, john = hospitals
    embedding = mary.call("GetEmbedding", encoder_pb.GetEmbeddingRequest(embedding_id=embedding_id)).embedding
    before = mary.call("PredictMasks", predict_masks(embedding_id, TARGET)).results
    embedding.values.data = bytes(len(embedding.values.data))
    forged = decoder_pb.PredictMasksRequest(embedding=embedding, prompts=[TARGET])
    assert john.call("PredictMasks", forged).results
    assert mary.call("PredictMasks", predict_masks(embedding_id, TARGET)).results == before
    assert john.reason("PredictMasks", predict_masks(embedding_id, TARGET)) == "EMBEDDING_NOT_FOUND"


def test_fusion_asks_for_its_caller(hospitals: tuple[Hospital, Hospital]) -> None:
    """Targets given as prompts are encoded for the caller's tenant, through fusion, encoder and decoder, and no other.

    Fusion passes the caller on to the encoder and to the decoder, and the decoder to the encoder.
    """
    mary, john = hospitals
    prompts = [pair(box(20, 22, 38, 44), box(26, 18, 44, 40))]
    for hospital in (mary, john):
        missing = hospital.call("FindMissingEmbeddings", _find_mapped()).missing_image_digests
        assert list(missing) == [digest_of(FIXED)], "nobody has encoded it before"
        assert hospital.call("RegisterImages", registering(targets=prompts))
        assert not hospital.call("FindMissingEmbeddings", _find_mapped()).missing_image_digests


def _find_mapped() -> encoder_pb.FindMissingEmbeddingsRequest:
    """Asks for the fixed image as fusion encodes it."""
    mapped = options(intensity_mapping=window(0, 400))
    return encoder_pb.FindMissingEmbeddingsRequest(image_digests=[digest_of(FIXED)], options=mapped)
