"""Client.generate_masks, against the fakes of hilum.testing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hilum import AsyncClient, Client, GenerationParameters, Image
from hilum.errors import Overloaded, PromptNotSupported
from hilum.generation import GenerationProgress
from hilum.testing import FakeDecoder, FakeEncoder, FakeModel, serve_in_process, serve_in_thread
from hilum.types import ImageSource

PARAMETERS = GenerationParameters(points_per_side=4, points_per_batch=8)


def image(size: tuple[int, int] = (120, 160)) -> Image:
    """Returns an image of noise."""
    return Image(np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8))


def test_masks_of_everything() -> None:
    """Every mask has the image's size, and its numbers are those of its pixels; progress is told."""
    steps: list[GenerationProgress] = []
    with serve_in_thread() as endpoints, Client(endpoints) as client:
        found = client.generate_masks(image(), parameters=PARAMETERS, on_progress=steps.append)
    assert [(step.points_done, step.points_total) for step in steps] == [(8, 16), (16, 16)]
    assert len(found.masks) == 16
    for mask in found.masks:
        assert mask.mask.shape == (120, 160)
        assert mask.area_px == mask.mask.sum() > 0
        assert mask.bounding_box.x_min < mask.point.x < mask.bounding_box.x_max
        assert mask.model_score == 0.9
        assert mask.crop_box.x_max == 159.5


def test_what_was_found_says_what_found_it() -> None:
    """Model, revisions, parameters and the image's source come with the masks."""
    model, source = FakeModel(), ImageSource("1.2.3", modality="CT", simulated=True)
    with serve_in_thread(FakeEncoder([model])) as endpoints, Client(endpoints) as client:
        found = client.generate_masks(replace(image(), source=source), parameters=PARAMETERS)
    assert (found.model, found.parameters, found.source) == (model.name, PARAMETERS, source)
    assert (found.encoder_revision, found.decoder_revision) == (model.encoder_revision, model.decoder_revision)


async def test_crops_are_encoded_once_and_found_again() -> None:
    """One layer of crops makes five embeddings, and a second search none."""
    encoder = FakeEncoder()
    chosen = GenerationParameters(points_per_side=4, crop_n_layers=1)
    async with serve_in_process(encoder) as endpoints, AsyncClient(endpoints) as client:
        found = await client.generate_masks(image(), parameters=chosen)
        assert encoder.encoder_runs == 5
        assert len({mask.crop_box for mask in found.masks}) > 1
        await client.generate_masks(image(), parameters=chosen)
    assert encoder.encoder_runs == 5


async def test_what_was_forgotten_travels_with_the_request() -> None:
    """When neither decoder nor encoder know the embeddings any more, image and crops are encoded again."""
    encoder = FakeEncoder()
    decoder = FakeDecoder(encoder)
    chosen = GenerationParameters(points_per_side=2, crop_n_layers=1)
    async with serve_in_process(encoder, decoder) as endpoints, AsyncClient(endpoints) as client:
        before = await client.generate_masks(image(), parameters=chosen)
        encoder.forget()
        decoder.forget()
        after = await client.generate_masks(image(), parameters=chosen)
    assert encoder.encoder_runs == 10
    assert [mask.point for mask in after.masks] == [mask.point for mask in before.masks]


async def test_errors_are_those_of_the_library() -> None:
    """A model of boxes, and a service without room, answer with the library's exceptions."""
    encoder = FakeEncoder((FakeModel(), FakeModel("boxes", points=False)))
    decoder = FakeDecoder(encoder)
    async with serve_in_process(encoder, decoder) as endpoints, AsyncClient(endpoints, attempts=1) as client:
        with pytest.raises(PromptNotSupported):
            await client.generate_masks(image(), model="boxes", parameters=PARAMETERS)
        decoder.fail_next(Overloaded("no permit is free", retry_after_s=1))
        with pytest.raises(Overloaded):
            await client.generate_masks(image(), parameters=PARAMETERS)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        (GenerationParameters(crop_n_layers=3), "crop_n_layers"),
        (GenerationParameters(crop_n_layers=-1), "crop_n_layers"),
        (GenerationParameters(crop_n_layers=1, crop_overlap_ratio=1.0), "crop_overlap_ratio"),
        (GenerationParameters(points_per_side=129), "points_per_side"),
    ],
)
async def test_parameters_are_checked(parameters: GenerationParameters, field: str) -> None:
    """What is out of range is refused with its name, whether client or service looks at it."""
    async with serve_in_process() as endpoints, AsyncClient(endpoints) as client:
        with pytest.raises(Exception, match=field) as caught:
            await client.generate_masks(image(), parameters=parameters)
    assert getattr(caught.value, "field", "") == field
