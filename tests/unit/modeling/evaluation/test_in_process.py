"""modeling.evaluation.in_process: a bundle's masks are the services' masks."""

import numpy as np
import pytest

from hilum.serving.bundle import Bundle
from hilum.types import Box, Identity, Image, Point, Prompt
from modeling.evaluation import geometry
from modeling.evaluation.close_looks import CloseLooks
from modeling.evaluation.in_process import BundlePredictor, open_bundles
from modeling.evaluation.predictor import Predictor
from modeling.evaluation.protocols import GROUPS, available
from modeling.sample import Sample, mask_target
from services.decoder.mask_decoder import OnnxMaskDecoder
from services.decoder.postprocess import MaskUpscaler
from services.decoder.prompts import CanvasMap, batches
from services.encoder.preprocess import prepare

ROWS, COLUMNS = np.mgrid[:210, :300]
PROMPTS = [
    Prompt(box=Box(60, 50, 140, 131)),
    Prompt((Point(100, 90),)),
    Prompt((Point(100, 90), Point(20, 20, False))),
    Prompt((Point(100, 90),), Box(60, 50, 140, 131)),
]


@pytest.fixture(scope="module")
def predictor(lite_medsam_bundle: Bundle) -> BundlePredictor:
    return open_bundles([lite_medsam_bundle])[0]


@pytest.fixture(scope="module")
def drawn() -> Sample:
    """A bright disc on a ramp with noise; its pixels are a third higher than wide."""
    disc = (ROWS - 90) ** 2 + (COLUMNS - 100) ** 2 <= 38**2
    noise = np.random.default_rng(4).normal(0, 6, ROWS.shape)
    image = np.clip(40 + COLUMNS / 6 + 90 * disc + noise, 0, 255).astype(np.uint8)
    return Sample("disc", image, (mask_target("disc", disc),), "drawn", "CT", "nobody", spacing_mm=(0.6, 0.8))


def _through_the_services(bundle: Bundle, sample: Sample, prompts: list[Prompt]) -> list[np.ndarray]:
    """All four masks of each prompt, made by the services' own cores."""
    manifest, aspect = bundle.manifest, 0.8 / 0.6
    side, normalisation = manifest.image_size, manifest.normalisation
    ready = prepare(Image(sample.image), Identity(), pixel_aspect=aspect, side=side, normalisation=normalisation)
    encoder = open_bundles([bundle])[0]._encoder._session  # the same graph as the encoder service's
    (embedding,) = encoder.run(None, {encoder.get_inputs()[0].name: ready.normalised()})
    decoder = OnnxMaskDecoder(bundle, 1)
    upscale = MaskUpscaler(sample.size, ready.input_size, side, manifest.low_res_mask_size)
    masks: list[np.ndarray] = [np.empty(0)] * len(prompts)
    for batch in batches(prompts, CanvasMap(sample.size, ready.input_size), 8):
        answer = decoder.decode(
            decoder.prepare(embedding), batch.point_coords, batch.point_labels, batch.mask_input
        ).low_res_masks
        for row, index in enumerate(batch.indices):
            windows = [upscale(logits, manifest.mask_threshold) for logits in answer[row]]
            masks[index] = np.stack([window.full(sample.size) for window in windows])
    return masks


def test_masks_are_the_services(predictor: BundlePredictor, lite_medsam_bundle: Bundle, drawn: Sample) -> None:
    """All four masks of boxes, points and both, on anisotropic pixels, are the services' up to rounding."""
    predictor.set_image(drawn)
    found = predictor.predict(PROMPTS, "four").masks
    for index, expected in enumerate(_through_the_services(lite_medsam_bundle, drawn, PROMPTS)):
        assert np.count_nonzero(found[index] != expected) <= 5
    assert geometry.iou(drawn.targets[0].mask, found[0, 0]) > 0.7  # type: ignore[arg-type]


def test_a_fed_back_mask_is_the_services(predictor: BundlePredictor, lite_medsam_bundle: Bundle, drawn: Sample) -> None:
    """A prompt with the logits of an earlier answer gives the services' mask, too."""
    predictor.set_image(drawn)
    logits = predictor.predict(PROMPTS[:1]).low_res[0, 0]
    again = Prompt((Point(100, 90),), mask_input=logits)
    (expected,) = _through_the_services(lite_medsam_bundle, drawn, [again])
    assert np.count_nonzero(predictor.predict([again], "four").masks[0] != expected) <= 5


def test_answers_do_not_depend_on_company(predictor: BundlePredictor, drawn: Sample) -> None:
    """A prompt among others has the answer it has alone, and "single" and "three" are parts of "four"."""
    predictor.set_image(drawn)
    together = predictor.predict(PROMPTS, "four")
    for index, prompt in enumerate(PROMPTS):
        single, three = predictor.predict([prompt]), predictor.predict([prompt], "three")
        apart = np.concatenate([single.scores[0], three.scores[0]])
        assert apart == pytest.approx(together.scores[index], abs=1e-4)
        assert np.count_nonzero(single.masks[0, 0] != together.masks[index, 0]) <= 5


def test_bundles_of_one_encoder_share_it(lite_medsam_bundle: Bundle, drawn: Sample) -> None:
    """Two bundles with the same encoder revision encode an image, and each of its regions, once."""
    bundles = open_bundles([lite_medsam_bundle, lite_medsam_bundle])
    assert bundles[0]._encoder is bundles[1]._encoder
    models: list[Predictor] = [*bundles, *map(CloseLooks, bundles)]
    for model in models:
        model.set_image(drawn)
        model.predict([Prompt(box=Box(96, 86, 104, 94))])
    counted = bundles[0]._encoder._encoded.cache_info()
    assert (counted.misses, counted.hits) == (2, 2)
    assert counted.maxsize


def test_without_an_image_nothing_is_answered(lite_medsam_bundle: Bundle) -> None:
    """A prompt before any image is a mistake of the caller, and is said to be."""
    (predictor,) = open_bundles([lite_medsam_bundle])
    for model in (predictor, CloseLooks(predictor)):
        with pytest.raises(RuntimeError, match="set_image comes first"):
            model.predict(PROMPTS[:1])


def test_a_small_target_is_looked_at_closely(predictor: BundlePredictor) -> None:
    """A stone of 8 px in 512 x 512 is found better in its region, and the mask comes back in the full image."""
    image = np.random.default_rng(2).normal(60, 5, (512, 512))
    rows, columns = np.mgrid[:512, :512]
    stone = (rows - 300) ** 2 + (columns - 200) ** 2 <= 4**2
    image[stone] = 220
    sample = Sample("stone", image.astype(np.uint8), (mask_target("stone", stone),), "drawn", "CT", "nobody")
    fits = []
    for model in (predictor, CloseLooks(predictor)):
        model.set_image(sample)
        fits.append(geometry.iou(stone, model.predict([Prompt(box=sample.targets[0].box)]).masks[0, 0]))
    assert fits[1] > fits[0]
    assert CloseLooks(predictor).kinds.mask_input is False
    assert [name for name in GROUPS if available(CloseLooks(predictor), name)] == ["box", "click", "refined"]
