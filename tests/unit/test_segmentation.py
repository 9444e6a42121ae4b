"""The segmentation half of the client, against the fakes of hilum.testing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hilum import AsyncClient, Box, Client, Image, ImageGeometry, Point, Prompt, Window
from hilum.errors import OutsideImage
from hilum.geometry import PlaneFrame
from hilum.segmentation import EncodeFailure
from hilum.testing import FakeEncoder, serve_in_process, serve_in_thread
from hilum.types import ImageSource

WINDOW = Window(500, 1000)


def image(seed: int, size: tuple[int, int] = (400, 480)) -> Image:
    rng = np.random.default_rng(seed)
    return Image(rng.integers(0, 1000, size, dtype=np.int16))


async def test_only_unknown_images_are_missing() -> None:
    """Known images are not missing, equal images are missing together, and another mapping is another image."""
    encoder = FakeEncoder()
    async with serve_in_process(encoder) as endpoints, AsyncClient(endpoints) as client:
        await client.encode(image(1), mapping=WINDOW)
        images = [image(0), image(1), image(2), image(0)]
        assert await client.find_missing(images, mapping=WINDOW) == [0, 2, 3]
        assert await client.find_missing(images, mapping=Window(0, 10)) == [0, 1, 2, 3]
        assert await client.find_missing([]) == []
    assert encoder.encoder_runs == 1


def test_images_with_windows_of_their_own_are_asked_for_with_them() -> None:
    """A series whose files carry different windows is looked up under each image's own window."""
    first, second = image(1), image(2)
    own = [Image(first.pixels, window=Window(10, 20)), Image(second.pixels, window=Window(30, 40))]
    with serve_in_thread() as endpoints, Client(endpoints) as client:
        client.encode(own[0])
        client.encode(own[1])
        assert client.find_missing(own) == []
        assert client.find_missing([own[0], Image(second.pixels, window=Window(10, 20))]) == [1]


async def test_errors_name_the_prompt_as_the_caller_numbered_it() -> None:
    """Prompts that share a region travel in one call; an error still names the prompt's place among all given."""
    small, far, outside = Box(10, 10, 30, 30), Box(440, 350, 460, 370), Box(490, 390, 500, 410)
    async with serve_in_process() as endpoints, AsyncClient(endpoints) as client:
        with pytest.raises(OutsideImage) as caught:
            await client.predict(image(0), [Prompt(box=box) for box in (small, far, outside)], mapping=WINDOW)
    assert caught.value.field == "prompts[2].box"


@pytest.mark.parametrize(
    ("source", "calibrated"),
    [
        (ImageSource(modality="CT"), True),
        (ImageSource(modality="CT", simulated=True), False),
        (ImageSource(modality="MR"), False),
        (ImageSource(modality="photograph of a screen"), False),
        (ImageSource(), False),
    ],
)
def test_what_is_known_of_an_image_travels_with_its_prompts(source: ImageSource, calibrated: bool) -> None:
    """The service learns modality and simulation from the image: on acquired CT it says what scores are worth.

    A modality that is none in DICOM is passed over as unknown.
    """
    with serve_in_thread() as endpoints, Client(endpoints) as client:
        pixels = image(0).pixels
        prompts = [Prompt(box=Box(10, 10, 200, 200)), Prompt(box=Box(10.2, 10.2, 10.4, 10.4))]
        prediction = client.predict(Image(pixels, source=source), prompts, mapping=WINDOW, region=None)
    said = [(masks[0].expected_iou, masks[0].abstain) for masks in prediction.masks]
    assert said == ([(pytest.approx(0.8), False), (0.0, True)] if calibrated else [(None, None)] * 2)


def test_the_first_choice_is_the_mask_with_the_highest_score() -> None:
    """Of three masks in the model's order `best` takes the one that the model thinks most of."""
    with serve_in_thread() as endpoints, Client(endpoints) as client:
        prompts = [Prompt(box=Box(10, 10, 200, 200)), Prompt(points=(Point(300, 300),))]
        prediction = client.predict(image(0), prompts, mapping=WINDOW, multimask_output=True)
    assert prediction.best() is prediction.masks[0][0]
    shuffled = dataclasses.replace(prediction, masks=tuple(masks[::-1] for masks in prediction.masks))
    assert shuffled.best(1) is shuffled.masks[1][2]


async def test_an_image_that_is_refused_does_not_end_a_series() -> None:
    """Of several images one has pixels far from square: it fails by itself, the others are encoded."""
    flat = Image(image(1).pixels, ImageGeometry(PlaneFrame((1.0, 100.0))))
    async with serve_in_process() as endpoints, AsyncClient(endpoints) as client:
        outcomes = [outcome async for outcome in client.encode_many([image(0), flat, image(2)], mapping=WINDOW)]
    failed = [outcome for outcome in outcomes if isinstance(outcome, EncodeFailure)]
    assert [outcome.index for outcome in failed] == [1]
    assert failed[0].error.field == "options.pixel_aspect"
    assert len(outcomes) == 3
