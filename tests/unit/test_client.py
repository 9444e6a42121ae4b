"""The clients, against the fakes of hilum.testing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc.aio
import numpy as np
import pytest

from hilum import (
    AsyncClient,
    Box,
    Client,
    Image,
    ImageGeometry,
    Point,
    ProjectionAxis,
    ProjectionMethod,
    Prompt,
    Region,
    TargetPair,
    Transform,
    TransformModel,
    ViewRelation,
    Volume,
    VolumeRegistrationOptions,
    Window,
)
from hilum.connection import EMBEDDING_ID_KEY, IMAGE_DIGEST_KEY, Endpoints
from hilum.digest import image_digest
from hilum.errors import (
    EmbeddingNotFound,
    InvalidField,
    ModelMismatch,
    ModelNotFound,
    PromptNotSupported,
    TransformFlagged,
    TransformNotFound,
)
from hilum.geometry import PatientFrame
from hilum.segmentation import EncodeFailure, EncodeSuccess
from hilum.testing import FakeDecoder, FakeEncoder, FakeFusion, FakeModel, serve_in_process
from hilum.types import ImageSource, RegistrationProgress

PATIENCE_S = 30
LARGE = Box(99.5, 79.5, 299.5, 279.5)
SMALL = Box(199.5, 99.5, 219.5, 109.5)


def image(seed: int = 0, size: tuple[int, int] = (400, 480)) -> Image:
    """Returns noise, int16."""
    return Image(np.random.default_rng(seed).integers(-1000, 1000, size, dtype=np.int16))


def filled(box: Box, size: tuple[int, int] = (400, 480)) -> np.ndarray:
    """Returns the mask that the fake decoder draws for a box."""
    mask = np.zeros(size, np.bool_)
    mask[int(box.y_min + 0.5) : int(box.y_max + 0.5), int(box.x_min + 0.5) : int(box.x_max + 0.5)] = True
    return mask


class Rig:
    """The fakes, where they are, and a client of theirs."""

    client: AsyncClient
    endpoints: Endpoints

    def __init__(self) -> None:
        self.encoder = FakeEncoder((FakeModel(), FakeModel("boxes", points=False, mask_input=False)))
        self.decoder = FakeDecoder(self.encoder)
        self.fusion = FakeFusion()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Fakes and a client, none of which can hang a test."""
    rig = Rig()
    async with (
        asyncio.timeout(PATIENCE_S),
        serve_in_process(rig.encoder, rig.decoder, rig.fusion) as rig.endpoints,
        AsyncClient(rig.endpoints) as rig.client,
    ):
        yield rig


async def test_an_image_is_encoded_once(rig: Rig) -> None:
    """However often an image is prompted, by however many clients, it is encoded once."""
    for _ in range(3):
        prediction = await rig.client.predict(image(), [Prompt(box=LARGE)])
        assert np.array_equal(prediction.masks[0][0].mask, filled(LARGE))
    async with AsyncClient(rig.endpoints) as other:
        await other.predict(image(), [Prompt(box=LARGE)])
        assert (await other.encode(image())).cache_hit
    assert rig.encoder.encoder_runs == 1


async def test_a_lost_embedding_is_made_again(rig: Rig) -> None:
    """When encoder and decoder have lost an embedding, the same call encodes again and succeeds."""
    await rig.client.predict(image(), [Prompt(box=LARGE)])
    rig.encoder.forget()
    rig.decoder.forget()
    prediction = await rig.client.predict(image(), [Prompt(box=LARGE)])
    assert prediction.embedding_origins == ("inline",)
    assert np.array_equal(prediction.masks[0][0].mask, filled(LARGE))
    assert rig.encoder.encoder_runs == 2


@pytest.mark.parametrize("kind", [EmbeddingNotFound, ModelMismatch])
async def test_an_embedding_that_the_decoder_cannot_use(rig: Rig, kind: type[Exception]) -> None:
    """A decoder that does not find an embedding, or that has a newer model, is given it with the prompts; once only."""
    rig.decoder.fail_next(kind("gone"))  # type: ignore[arg-type]  # both are HilumErrors
    assert (await rig.client.predict(image(), [Prompt(box=LARGE)])).embedding_origins == ("inline",)
    rig.decoder.fail_next(kind("gone"), kind("gone"))  # type: ignore[arg-type]
    with pytest.raises(kind):
        await rig.client.predict(image(), [Prompt(box=LARGE)])


async def test_small_targets_are_encoded_in_a_region(rig: Rig) -> None:
    """A small box has a crop encoded, a large one the whole image; masks are of the whole image either way."""
    prediction = await rig.client.predict(image(), [Prompt(box=SMALL), Prompt(box=LARGE), Prompt(box=SMALL)])
    assert rig.encoder.encoder_runs == 2
    assert len(prediction.embedding_origins) == 2
    for masks, box in zip(prediction.masks, (SMALL, LARGE, SMALL), strict=True):
        assert np.array_equal(masks[0].mask, filled(box))
    await rig.client.predict(image(), [Prompt(box=SMALL)], region=None)
    assert rig.encoder.encoder_runs == 2


async def test_a_region_may_be_chosen(rig: Rig) -> None:
    """A region that the caller names is what is encoded, and nothing outside it is foreground."""
    region = Region(200, 90, 64, 64)
    prediction = await rig.client.predict(image(), [Prompt(box=LARGE)], region=region)
    expected = filled(LARGE)
    expected[:90] = expected[154:] = False
    expected[:, :200] = expected[:, 264:] = False
    assert np.array_equal(prediction.masks[0][0].mask, expected)
    crop = Image(image().pixels[90:154, 200:264])
    assert (await rig.client.encode(crop)).cache_hit


async def test_what_may_be_asked_for(rig: Rig) -> None:
    """Three masks, logits and refinement arrive when they are asked for; logits go back in."""
    prompt = Prompt(points=(Point(240, 200), Point(10, 10, foreground=False)))
    prediction = await rig.client.predict(
        image(), [prompt], multimask_output=True, return_low_res_masks=True, refine_bright=True
    )
    whole, part, subpart = prediction.masks[0]
    assert whole.area_px > part.area_px > subpart.area_px > 0
    assert whole.refinement == "applied"
    assert not whole.mask[whole.mask != whole.model_mask].any()
    (region,) = prediction.regions
    again = await rig.client.predict(image(), [Prompt(mask_input=whole.low_res_mask)], region=region)
    assert 0.8 < again.masks[0][0].area_px / whole.area_px < 1.25
    assert prediction.model == "fake"


async def test_models_and_prompts_that_do_not_fit(rig: Rig) -> None:
    """Errors of the services arrive as exceptions, and what is wrong here is refused before it is sent."""
    assert [model.name for model in await rig.client.models()] == ["fake", "boxes"]
    assert (await rig.client.models())[1].prompts == {"box"}
    with pytest.raises(PromptNotSupported, match="points"):
        await rig.client.predict(image(), [Prompt(points=(Point(5, 5),))], model="boxes")
    with pytest.raises(ModelNotFound):
        await rig.client.predict(image(), [Prompt(box=SMALL)], model="no")
    with pytest.raises(InvalidField, match="at least one"):
        await rig.client.predict(image(), [])
    colours = Image(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(InvalidField, match="colours"):
        await rig.client.predict(colours, [Prompt(box=Box(1, 1, 5, 5))], refine_bright=True)


async def test_a_series(rig: Rig) -> None:
    """Of a series only unknown images are sent; each has its outcome, and a bad one does not end it."""
    known = await rig.client.encode(image(1), mapping=Window(40, 400))
    nan = Image(np.full((9, 9), np.nan, np.float32))
    outcomes = {}
    async for outcome in rig.client.encode_many([image(0), image(1), nan, image(2)], mapping=Window(40, 400)):
        outcomes[outcome.index] = outcome
    assert sorted(outcomes) == [0, 1, 2, 3]
    assert isinstance(outcomes[2], EncodeFailure)
    assert "NaN" in outcomes[2].error.message
    assert isinstance(outcomes[1], EncodeSuccess)
    assert outcomes[1].encoded.embedding_id == known.embedding_id
    assert outcomes[1].encoded.cache_hit
    assert rig.encoder.encoder_runs == 3


class Recorder(grpc.aio.UnaryUnaryClientInterceptor):
    """Notes the metadata of calls."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, Any]] = {}

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Notes and goes on."""
        self.seen[str(details.method).rpartition("/")[2].rstrip("'")] = dict(details.metadata or ())
        return await continuation(details, request)


async def test_what_proxies_route_by(rig: Rig) -> None:
    """The digest, the embedding's id and the tenant travel as metadata with every call."""
    recorder = Recorder()

    def recorded(address: str) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(address, interceptors=[recorder])

    async with AsyncClient(rig.endpoints, tenant="st-mary", channel=recorded) as client:
        await client.models()
        await client.predict(image(), [Prompt(box=LARGE)])
        encoded = await client.encode(image())
    assert {calls["x-hilum-tenant"] for calls in recorder.seen.values()} == {"st-mary"}
    assert set(recorder.seen) == {"GetCapabilities", "EncodeImage", "PredictMasks"}
    assert recorder.seen["EncodeImage"][IMAGE_DIGEST_KEY] == image_digest(image().pixels).hex()
    assert recorder.seen["PredictMasks"][EMBEDDING_ID_KEY] == encoded.embedding_id.hex()


async def test_tenants_do_not_share(rig: Rig) -> None:
    """What one tenant encoded is encoded again for another, under another id."""
    async with AsyncClient(rig.endpoints, tenant="a") as first, AsyncClient(rig.endpoints, tenant="b") as second:
        ids = [(await client.encode(image())).embedding_id for client in (first, second)]
    assert ids[0] != ids[1]
    assert rig.encoder.encoder_runs == 2


async def test_fusion(rig: Rig) -> None:
    """A registration gives progress and a transform, which fuses, resamples and moves points, by value and by id."""
    fixed, moving = np.zeros((40, 50), np.int16), np.zeros((44, 54), np.int16)
    fixed[10:20, 10:30], moving[13:23, 12:32] = 100, 100
    steps: list[RegistrationProgress] = []
    ct = ImageSource(modality="CT")
    registration = await rig.client.register(
        Image(fixed, source=ct),
        Image(moving, source=ct),
        view_relation=ViewRelation.COMPARABLE,
        on_progress=steps.append,
    )
    assert [step.stage for step in steps] == ["search"]
    transform = registration.transform
    assert transform.apply([[10, 10]]).tolist() == [[12, 13]]
    for reference in (transform, transform.transform_id):
        assert np.array_equal(await rig.client.resample(Image(moving), reference), fixed)
        assert (await rig.client.transform_points(reference, [[12, 13]], inverse=True)).tolist() == [[10, 10]]
        fusion = await rig.client.fuse(Image(fixed), Image(moving), reference)
        assert np.array_equal(fusion.fixed, fusion.moving)
        assert fusion.coverage.all()
        assert fusion.burned_flags == ()
        async with rig.client.point_stream(reference, inverse=True) as stream:
            for x in range(12, 15):
                assert (await stream.move([[x, 13]])).tolist() == [[x - 2, 10]]
    rig.fusion.forget()
    with pytest.raises(TransformNotFound):
        await rig.client.transform_points(transform.transform_id, [[1, 1]])
    async with rig.client.point_stream(transform.transform_id) as stream:
        with pytest.raises(TransformNotFound):
            await stream.move([[1, 1]])


async def test_what_fusion_may_be_trusted_with(rig: Rig) -> None:
    """The client lists the verified pairs; an image's modality travels with it, and another pair is flagged."""
    found = await rig.client.fusion_capabilities()
    (verified, *_), fixed, moving = found.verified_pairs, image(0), image(1)
    ultrasound = replace(moving, source=ImageSource(modality="US"))
    named = replace(fixed, source=ImageSource(modality=verified.fixed_modality))
    partner = replace(moving, source=ImageSource(modality=verified.moving_modality))
    for one, other, flags in (
        (named, partner, ()),
        (named, ultrasound, ("UNVERIFIED_MODALITY_PAIR",)),
        (fixed, moving, ("UNVERIFIED_MODALITY_PAIR",)),
    ):
        registration = await rig.client.register(one, other, view_relation=verified.view_relation)
        assert registration.transform.flags == flags
    with Client(rig.endpoints) as client:
        assert await asyncio.to_thread(client.fusion_capabilities) == found


async def test_targets_may_be_masks_and_prompts(rig: Rig) -> None:
    """Targets lead the registration, as masks and as prompts, and come back with their agreement."""
    target = TargetPair(filled(LARGE), Prompt(box=Box(109.5, 69.5, 309.5, 269.5)))
    registration = await rig.client.register(
        image(0), image(1), view_relation=ViewRelation.COMPARABLE, targets=[target], fixed_mapping=Window(0, 100)
    )
    assert registration.transform.apply([[0, 0]]).tolist() == [[10, -10]]
    assert registration.targets[0].dice_after == 1
    assert registration.targets[0].dice_before < 1
    assert np.array_equal(registration.targets[0].mask_fixed, filled(LARGE))


async def test_flags_must_be_accepted(rig: Rig) -> None:
    """A flagged transform is refused until its flags are accepted by name, and is then burned in."""
    flagged = Transform.from_matrix(np.eye(3), (400, 480), (400, 480), flags=("VIEWS_DIFFER",))
    with pytest.raises(TransformFlagged, match="VIEWS_DIFFER"):
        await rig.client.fuse(image(0), image(1), flagged)
    fusion = await rig.client.fuse(image(0), image(1), flagged, accepted_flags=["VIEWS_DIFFER"])
    assert fusion.burned_flags == ("VIEWS_DIFFER",)


async def test_projection(rig: Rig) -> None:
    """A volume larger than a message travels in pieces, and its projection keeps what is known of it."""
    voxels = np.random.default_rng(0).integers(0, 255, (40, 512, 512), dtype=np.uint16)
    picture = await rig.client.project(
        Volume(voxels), axis=ProjectionAxis.DEPTH, method=ProjectionMethod.MAXIMUM, slab=(5, 30)
    )
    assert np.array_equal(picture.pixels, voxels[5:30].max(axis=0))
    assert picture.pixels.dtype == np.float32


async def test_volumes_are_registered(rig: Rig) -> None:
    """Two volumes larger than a piece travel in one stream, with progress; the transform moves points in LPS."""
    voxels = np.zeros((40, 400, 400), np.uint16)
    voxels[10:20, 100:150, 200:280] = 900
    here, there = (
        ImageGeometry(PatientFrame((x, 0.0, 5.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (0.5, 0.5, 2.0)))
        for x in (0.0, 30.0)
    )
    steps: list[RegistrationProgress] = []
    result = await rig.client.register_volumes(
        Volume(voxels, here),
        Volume(voxels[5:].astype(np.float32), there),
        options=VolumeRegistrationOptions(TransformModel.DEFORMABLE, stiffness=2.0),
        on_progress=steps.append,
    )
    moved = result.transform.apply_patient([[100.0, 80.0, 30.0]])
    np.testing.assert_allclose(moved, [[130.0, 80.0, 20.0]], atol=1e-6)
    np.testing.assert_allclose(result.inverse.apply_patient(moved), [[100.0, 80.0, 30.0]], atol=1e-6)
    assert steps
    assert result.deformation is not None
    assert result.transform.displacement_field is not None


async def test_dragging(rig: Rig) -> None:
    """Prompts that are moved are answered as `predict` answers them; a faulty one does not end the stream."""
    prompts = [Prompt(box=Box(10, 10, 30 + step, 30)) for step in range(3)]
    async with await rig.client.dragging(image()) as dragging:
        for number, prompt in enumerate(prompts, 1):
            assert await dragging.move([prompt]) == number
            answer = await dragging.answer()
            assert (answer.sequence_number, answer.superseded, answer.error) == (number, 0, None)
            assert answer.prediction is not None
            expected = await rig.client.predict(image(), [prompt], region=None)
            assert np.array_equal(answer.prediction.best().mask, expected.best().mask)
        await dragging.move([Prompt(box=Box(30, 10, 10, 30))])
        answer = await anext(aiter(dragging))
        assert isinstance(answer.error, InvalidField)
        assert answer.prediction is None
        await dragging.move(prompts[:1])
        assert (await dragging.answer()).prediction is not None


async def test_dragging_stays_in_its_region(rig: Rig) -> None:
    """With a region that is what is encoded; masks are in pixels of the image."""
    async with await rig.client.dragging(image(), region=Region(8, 8, 16, 16)) as dragging:
        await dragging.move([Prompt(box=Box(10, 10, 20, 20))])
        answer = await dragging.answer()
    assert answer.prediction is not None
    assert answer.prediction.regions == (Region(8, 8, 16, 16),)
    assert answer.prediction.best().mask.shape == image().size
