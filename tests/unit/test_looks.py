"""hilum.looks: how often an image is looked at, and which look counts, against the fakes of hilum.testing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from hilum import AsyncClient, Box, Image, Point, Prompt, Region, Window
from hilum.errors import OutsideImage, PromptNotSupported
from hilum.region import choose_region
from hilum.testing import FakeDecoder, FakeEncoder, FakeModel, serve_in_process
from hilum.types import Identity, ImageSource, PredictedMask, first_choice

WINDOW = Window(500, 1000)
SIZE = (400, 480)
CLICK = Point(200, 100)


def image() -> Image:
    """Noise."""
    return Image(np.random.default_rng(0).integers(0, 1000, SIZE, dtype=np.int16))


def click(*points: Point) -> Prompt:
    """A prompt of points alone."""
    return Prompt(points=points)


def widths(masks: tuple[PredictedMask, ...]) -> list[float]:
    """How wide the masks are."""
    return [mask.bounding_box.x_max - mask.bounding_box.x_min for mask in masks if mask.bounding_box is not None]


@asynccontextmanager
async def served(radius_px: float) -> AsyncIterator[tuple[AsyncClient, FakeEncoder, FakeDecoder]]:
    """The fakes, which draw discs of this radius around points, and a client of theirs."""
    encoder = FakeEncoder((FakeModel(), FakeModel("boxes", points=False, mask_input=False)))
    decoder = FakeDecoder(encoder, radius_px=radius_px)
    async with serve_in_process(encoder, decoder) as endpoints, AsyncClient(endpoints) as client:
        yield client, encoder, decoder


async def test_a_click_on_a_small_target_is_answered_from_a_region_around_it() -> None:
    """The image and the region around the mask are encoded, once each; the answer is from the region."""
    async with served(radius_px=7) as (client, encoder, _):
        for _ in range(2):
            prediction = await client.predict(image(), [click(CLICK)], mapping=WINDOW)
            assert prediction.regions == (choose_region(Prompt(box=Box(192.5, 92.5, 207.5, 107.5)), SIZE, 256),)
            assert prediction.regions[0] is not None
            assert widths(prediction.masks[0]) == [15]
    assert encoder.encoder_runs == 2


async def test_a_click_on_a_large_target_keeps_the_look_at_the_whole_image() -> None:
    """A target larger than the close look's region is cut off there: the mask of the whole image is the answer."""
    async with served(radius_px=90) as (client, encoder, _):
        prediction = await client.predict(image(), [click(CLICK)], mapping=WINDOW)
    assert prediction.regions == (None,)
    assert widths(prediction.masks[0]) == [181]
    assert encoder.encoder_runs == 2


@pytest.mark.parametrize(("single_click", "candidates"), [(True, 1), (False, 3)])
async def test_a_click_is_answered_as_the_model_learnt_it(single_click: bool, candidates: int) -> None:
    """The model says whether its single mask or the best scored of three answers a click; asked for, three come."""
    encoder = FakeEncoder((FakeModel(single_click=single_click),))
    decoder = FakeDecoder(encoder, radius_px=7)
    async with serve_in_process(encoder, decoder) as endpoints, AsyncClient(endpoints) as client:
        chosen = await client.predict(image(), [click(CLICK)], mapping=WINDOW)
        asked = [
            await client.predict(image(), [click(CLICK)], mapping=WINDOW, multimask_output=m) for m in (False, True)
        ]
    single, three = (prediction.masks[0] for prediction in asked)
    assert (len(chosen.masks[0]), len(single), len(three)) == (1, 1, 3)
    expected = single[0] if candidates == 1 else first_choice(three)
    assert chosen.masks[0][0].model_score == expected.model_score
    assert np.array_equal(chosen.masks[0][0].mask, expected.mask)


def with_a_stone(depth: int = 1, modality: str = "CT") -> Image:
    """Bright to 3 px about the click, dark to 5, then tissue, of which the larger discs are a part."""
    rows, columns = np.indices(SIZE)
    distance = np.hypot(columns - CLICK.x, rows - CLICK.y)
    values = np.select([distance <= 3, distance <= 5], [1000, 0], 500).astype(np.int16)
    pixels = values if depth == 1 else np.repeat((values // 4).astype(np.uint8)[..., None], depth, axis=2)
    return Image(pixels, source=ImageSource(modality=modality))


@pytest.mark.parametrize("single_click", [True, False])
async def test_what_stands_out_in_the_close_look_is_the_answer(single_click: bool) -> None:
    """Of the second look's candidates the small bright one is the answer, though the model scores another higher."""
    encoder = FakeEncoder((FakeModel(single_click=single_click),))
    decoder = FakeDecoder(encoder, radius_px=9)
    async with serve_in_process(encoder, decoder) as endpoints, AsyncClient(endpoints) as client:
        bright = await client.predict(with_a_stone(), [click(CLICK)], mapping=WINDOW)
        noise = Image(image().pixels, source=ImageSource(modality="CT"))
        plain = await client.predict(noise, [click(CLICK)], mapping=WINDOW)
        asked = await client.predict(with_a_stone(), [click(CLICK)], mapping=WINDOW, multimask_output=False)
    assert [widths(it.masks[0]) for it in (bright, plain, asked)] == [[7], [19], [19]]
    assert bright.masks[0][0].model_score < plain.masks[0][0].model_score
    assert bright.regions[0] is not None


class DoubtfulDecoder(FakeDecoder):
    """Is not sure of what it finds for points that are not on the stone."""

    async def PredictMasks(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        """Draws masks, with scores that say so."""
        response = await super().PredictMasks(request, context)
        for prompt, answers in zip(request.prompts, response.results, strict=True):
            at = prompt.points[0].point
            if np.hypot(at.x - CLICK.x, at.y - CLICK.y) > 3:
                for answer in answers.masks:
                    answer.iou_prediction /= 2
        return response


@pytest.mark.parametrize(
    ("decoder", "announced", "moved"),
    [(DoubtfulDecoder, False, True), (FakeDecoder, False, False), (FakeDecoder, True, True)],
)
async def test_a_click_beside_what_is_bright_is_moved_onto_it(
    decoder: type[FakeDecoder], *, announced: bool, moved: bool
) -> None:
    """Where the model is not sure, or bright targets are announced, the one beside the click is the answer.

    No more is encoded for it.
    """
    beside = Point(CLICK.x + 8, CLICK.y + 6)
    encoder = FakeEncoder()
    fakes = serve_in_process(encoder, decoder(encoder, radius_px=3))
    async with fakes as endpoints, AsyncClient(endpoints) as client:
        asked = client.predict(with_a_stone(), [click(beside)], mapping=WINDOW, bright_target=announced)
        (bright,) = (await asked).masks[0]
        assert encoder.encoder_runs == 2
        (other,) = (await client.predict(with_a_stone(modality="MR"), [click(beside)], mapping=WINDOW)).masks[0]
    on_stone = (int(CLICK.y), int(CLICK.x))
    assert bright.mask[on_stone] == moved
    assert not other.mask[on_stone]


@pytest.mark.parametrize(("depth", "modality"), [(3, "CT"), (1, "MR"), (1, "")])
async def test_nothing_stands_out_where_brightness_says_little(depth: int, modality: str) -> None:
    """It is asked of images made by X-rays, with one value a pixel, and of no others."""
    async with served(radius_px=9) as (client, _, _):
        mapping = WINDOW if depth == 1 else Identity()
        prediction = await client.predict(with_a_stone(depth, modality), [click(CLICK)], mapping=mapping)
    assert widths(prediction.masks[0]) == [19]


async def test_clicks_that_share_a_region_share_it() -> None:
    """Three clicks, two of them neighbours: one encoding of the image and one per distinct region, answers in order."""
    async with served(radius_px=7) as (client, encoder, _):
        places = [CLICK, Point(400, 300), Point(202, 101)]
        prediction = await client.predict(image(), [click(place) for place in places], mapping=WINDOW)
    assert prediction.regions[0] == prediction.regions[2] != prediction.regions[1]
    assert encoder.encoder_runs == 3
    assert len(prediction.embedding_origins) == 3
    for place, masks in zip(places, prediction.masks, strict=True):
        assert masks[0].mask[int(place.y), int(place.x)]


async def test_boxes_and_clicks_in_one_call_keep_their_order() -> None:
    """A box has its own region and one look, a click its two, whatever stands between them."""
    box = Prompt(box=Box(99.5, 79.5, 299.5, 279.5))
    async with served(radius_px=7) as (client, _, _):
        prediction = await client.predict(image(), [click(CLICK), box, click(CLICK)], mapping=WINDOW)
    assert prediction.regions[1] is None
    assert prediction.regions[0] == prediction.regions[2] is not None
    assert [len(masks) for masks in prediction.masks] == [1, 1, 1]
    assert widths(prediction.masks[1]) == [200]


@pytest.mark.parametrize(("multimask", "count"), [(None, 1), (False, 1), (True, 3)])
async def test_as_many_masks_as_were_asked_for(multimask: bool | None, count: int) -> None:
    """A click gets its first choice of three, the model's single mask, or all three."""
    async with served(radius_px=9) as (client, _, _):
        prediction = await client.predict(image(), [click(CLICK)], mapping=WINDOW, multimask_output=multimask)
    assert len(prediction.masks[0]) == count
    assert prediction.best().model_score == 0.9


@pytest.mark.parametrize("region", [None, Region(150, 50, 128, 128)])
async def test_a_region_that_the_caller_chose_is_looked_at_once(region: Region | None) -> None:
    """With a region, or with the whole image asked for, there is one encoding and no second look."""
    async with served(radius_px=7) as (client, encoder, _):
        prediction = await client.predict(image(), [click(CLICK)], mapping=WINDOW, region=region)
    assert prediction.regions == (region,)
    assert encoder.encoder_runs == 1


async def test_errors_name_the_click_as_the_caller_numbered_it() -> None:
    """A click outside the image and one for a model of boxes are refused at the first look, by their place."""
    prompts = [Prompt(box=Box(99.5, 79.5, 299.5, 279.5)), click(CLICK), click(Point(900, 10))]
    async with served(radius_px=7) as (client, _, _):
        with pytest.raises(OutsideImage) as outside:
            await client.predict(image(), prompts, mapping=WINDOW)
        with pytest.raises(PromptNotSupported) as unsupported:
            await client.predict(image(), prompts[:2], mapping=WINDOW, model="boxes")
    assert outside.value.field.startswith("prompts[2].points[0]")
    assert unsupported.value.message.startswith("prompts[1].points: ")
