"""The services, from pixels to masks, against segment-anything's SamPredictor and against LiteMedSAM in torch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hilum import Box, Client, Identity, Image, Point, Prompt
from hilum.serving.bundle import Bundle
from modeling.bundle_writer import write_bundle
from services.decoder.prompts import CanvasMap
from services.encoder.preprocess import input_size, prepare
from tests.congruence.official import predictor
from tests.congruence.oracle import RANDOM_SAM_SPEC, lite_medsam, random_sam
from tests.contract.wiring import in_thread, real_services

SIDE = 256
SIZES = [(100, 140), (300, 200), (256, 256), (37, 400)]
# Embeddings travel in half precision. Largest difference of a logit from torch's in single precision, relative to the
# largest logit; measured 0.00011, which turned at most 4 pixels of 60,000.
LOGIT_TOLERANCE = 0.0004
# Measured 0.00003.
SCORE_TOLERANCE = 0.0001


@pytest.fixture(scope="module")
def sam() -> nn.Module:
    """A small random SAM."""
    return random_sam()


@pytest.fixture(scope="module")
def client(sam: nn.Module, tmp_path_factory: pytest.TempPathFactory, lite_medsam_bundle: Bundle) -> Iterator[Client]:
    """A client of the services, which serve the random SAM and LiteMedSAM."""
    folder = tmp_path_factory.mktemp("bundles") / RANDOM_SAM_SPEC.name
    bundles = [write_bundle(sam, RANDOM_SAM_SPEC, folder).bundle, lite_medsam_bundle]
    with in_thread(real_services(bundles)) as endpoints, Client(endpoints, tenant="congruence") as client:
        yield client


def photograph(size: tuple[int, int], *, colour: bool = True) -> NDArray[np.uint8]:
    """Returns smooth shapes in uint8."""
    generator = torch.Generator().manual_seed(size[0])
    coarse = torch.rand(1, 3 if colour else 1, 6, 8, generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 255)[0]
    pixels: NDArray[np.uint8] = smooth.numpy().round().astype(np.uint8).transpose(1, 2, 0)
    return pixels if colour else pixels[..., 0]


def as_sam(points: Any, size: tuple[int, int]) -> NDArray[np.float64]:
    """Returns the points that segment-anything's map, x * s, takes where ours, (x + .5) * s - .5, takes these."""
    scale = np.array(input_size(size, 1.0, SIDE)[::-1]) / np.array(size[::-1])
    return np.asarray(np.asarray(points, np.float64) + 0.5 - 0.5 / scale)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colour", [True, False])
def test_preprocessing(sam: nn.Module, size: tuple[int, int], colour: bool) -> None:
    """What the image encoder sees is what SamPredictor gives it: resized by Pillow, normalised, padded with zero."""
    pixels = photograph(size, colour=colour)
    normalisation = RANDOM_SAM_SPEC.normalisation
    ours = prepare(Image(pixels), Identity(), pixel_aspect=1.0, side=SIDE, normalisation=normalisation)
    official = predictor(sam)
    rgb = pixels if colour else np.repeat(pixels[..., None], 3, axis=2)
    resized = torch.as_tensor(official.transform.apply_image(rgb)).permute(2, 0, 1)[None]
    assert ours.input_size == tuple(resized.shape[-2:])
    expected = official.model.preprocess(resized)
    np.testing.assert_allclose(ours.normalised(), expected.numpy(), atol=2e-6)


@pytest.mark.parametrize("size", SIZES)
def test_the_coordinate_map(sam: nn.Module, size: tuple[int, int]) -> None:
    """Our map of points and segment-anything's are one, under the conversion that docs/concepts/geometry.md states."""
    points = np.random.default_rng(0).uniform(0, min(size), (50, 2))
    ours = CanvasMap(size, input_size(size, 1.0, SIDE)).to_canvas(points)
    theirs = predictor(sam).transform.apply_coords(as_sam(points, size), size)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def _prompts(size: tuple[int, int]) -> dict[str, Prompt]:
    height, width = size
    box = Box(0.2 * width, 0.25 * height, 0.7 * width, 0.8 * height)
    inside, outside = Point(0.45 * width, 0.5 * height), Point(0.1 * width, 0.9 * height, foreground=False)
    logits = np.random.default_rng(1).normal(0, 4, (64, 64)).astype(np.float32)
    return {
        "box": Prompt(box=box),
        "point": Prompt(points=(inside,)),
        "points": Prompt(points=(inside, outside)),
        "box and points": Prompt(points=(inside, outside), box=box),
        "mask": Prompt(mask_input=logits),
        "box and mask": Prompt(box=box, mask_input=logits),
    }


def _official_arguments(prompt: Prompt, size: tuple[int, int]) -> dict[str, Any]:
    """Returns the arguments of SamPredictor.predict for one of our prompts."""
    arguments: dict[str, Any] = {}
    if prompt.points:
        arguments["point_coords"] = as_sam([(point.x, point.y) for point in prompt.points], size)
        arguments["point_labels"] = np.array([int(point.foreground) for point in prompt.points])
    if prompt.box is not None:
        corners = [(prompt.box.x_min, prompt.box.y_min), (prompt.box.x_max, prompt.box.y_max)]
        arguments["box"] = as_sam(corners, size).ravel()
    if prompt.mask_input is not None:
        arguments["mask_input"] = prompt.mask_input[None]
    return arguments


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_masks(sam: nn.Module, client: Client, size: tuple[int, int], multimask: bool) -> None:
    """Masks, scores and logits are SamPredictor's, for every kind of prompt; half precision turns few pixels."""
    pixels = photograph(size)
    official = predictor(sam)
    official.set_image(pixels)
    prompts = _prompts(size)
    prediction = client.predict(
        Image(pixels),
        list(prompts.values()),
        model=RANDOM_SAM_SPEC.name,
        region=None,
        multimask_output=multimask,
        return_low_res_masks=True,
    )
    for name, masks in zip(prompts, prediction.masks, strict=True):
        arguments = _official_arguments(prompts[name], size)
        logits, scores, low_res = official.predict(**arguments, multimask_output=multimask, return_logits=True)
        assert len(masks) == len(logits)
        for ours, theirs, score, small in zip(masks, logits, scores, low_res, strict=True):
            tolerance = LOGIT_TOLERANCE * np.abs(small).max()
            assert ours.low_res_mask is not None
            assert np.abs(ours.low_res_mask - small).max() < tolerance, name
            assert np.abs(theirs[ours.mask != (theirs > 0)]).max(initial=0) < tolerance, name
            assert ours.model_score == pytest.approx(score, abs=SCORE_TOLERANCE), name


def test_lite_medsam(client: Client, lite_medsam_bundle: Bundle) -> None:
    """Masks of trained LiteMedSAM are those of its torch modules: for 20 boxes at most 4 of 64,000 pixels turn."""
    size = (200, 320)
    pixels = photograph(size, colour=False)
    rng = np.random.default_rng(2)
    corners = rng.uniform((0, 0), (200, 120), (20, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(15, 80, (20, 2))], axis=1)
    prompts = [Prompt(box=Box(*box)) for box in boxes.tolist()]
    prediction = client.predict(Image(pixels), prompts, model="lite-medsam", region=None)
    modules: Any = lite_medsam()
    normalisation = lite_medsam_bundle.manifest.normalisation
    image = prepare(Image(pixels), Identity(), pixel_aspect=1.0, side=SIDE, normalisation=normalisation)
    with torch.inference_mode():
        embedding = modules.image_encoder(torch.from_numpy(image.normalised()))
        for box, (ours,) in zip(boxes, prediction.masks, strict=True):
            canvas = CanvasMap(size, image.input_size).to_canvas(box.reshape(2, 2))
            sparse, dense = modules.prompt_encoder(None, torch.from_numpy(canvas.reshape(1, 4)), None)
            position = modules.prompt_encoder.get_dense_pe()
            low_res, scores = modules.mask_decoder(embedding, position, sparse, dense, multimask_output=False)
            height, width = image.input_size
            upscaled = torch.nn.functional.interpolate(low_res, (SIDE, SIDE), mode="bilinear", align_corners=False)
            upscaled = upscaled[..., :height, :width]
            full = torch.nn.functional.interpolate(upscaled, size, mode="bilinear", align_corners=False)
            assert np.count_nonzero(ours.mask != (full[0, 0].numpy() > 0)) <= 4
            assert ours.model_score == pytest.approx(float(scores[0, 0]), abs=SCORE_TOLERANCE)
    assert sum(mask.area_px > 0 for (mask,) in prediction.masks) > 10
