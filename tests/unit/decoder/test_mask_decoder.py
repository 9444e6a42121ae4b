"""services.decoder.mask_decoder: what it answers, from any number of threads. Values: tests/congruence."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from hilum.serving.bundle import Bundle
from modeling.bundle_writer import write_bundle
from services.decoder.mask_decoder import OnnxMaskDecoder
from tests.congruence.oracle import RANDOM_SAM_SPEC, random_sam


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of the random SAM: embeddings (256, 16, 16), low-resolution masks 64x64."""
    return write_bundle(random_sam(), RANDOM_SAM_SPEC, tmp_path_factory.mktemp("bundles") / "random-sam").bundle


@pytest.fixture(scope="module")
def embedding() -> NDArray[np.float32]:
    """A random image embedding."""
    return np.random.default_rng(0).standard_normal((1, 256, 16, 16)).astype(np.float32)


def _boxes(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    corners = np.array([[[20, 30], [200, 180]]], np.float32) + np.arange(count, dtype=np.float32)[:, None, None]
    return corners, np.tile(np.array([[2, 3]], np.float32), (count, 1))


def test_the_size_of_a_prepared_image_is_its_tensors(bundle: Bundle, embedding: NDArray[np.float32]) -> None:
    """A prepared image says how much memory it holds: the tokens and three half as wide projections."""
    prepared = OnnxMaskDecoder(bundle, threads=1).prepare(embedding)
    assert prepared.nbytes == 16 * 16 * (256 + 3 * 128) * 4


@pytest.mark.parametrize("count", [1, 3])
def test_masks_have_one_row_per_prompt(bundle: Bundle, embedding: NDArray[np.float32], count: int) -> None:
    """Each prompt gets four masks and four scores, float32."""
    decoder = OnnxMaskDecoder(bundle, threads=2)
    answer = decoder.decode(decoder.prepare(embedding), *_boxes(count))
    assert answer.low_res_masks.shape == (count, 4, 64, 64)
    assert answer.iou_predictions.shape == (count, 4)
    assert {array.dtype for array in vars(answer).values()} == {np.dtype(np.float32)}


def test_threads_do_not_change_the_masks(bundle: Bundle, embedding: NDArray[np.float32]) -> None:
    """The number of threads, and whether prompts come together, change no mask beyond rounding."""
    answers = []
    for threads in (1, 3):
        decoder = OnnxMaskDecoder(bundle, threads)
        prepared = decoder.prepare(embedding)
        coords, labels = _boxes(4)
        answers.append(decoder.decode(prepared, coords, labels).low_res_masks)
        answers.append(
            np.concatenate([decoder.decode(prepared, coords[[i]], labels[[i]]).low_res_masks for i in range(4)])
        )
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], rtol=0, atol=1e-5 * np.abs(answers[0]).max())


def test_calls_from_several_threads_do_not_disturb_one_another(bundle: Bundle, embedding: NDArray[np.float32]) -> None:
    """One decoder serves concurrent calls, single and batched, with the masks of calls made in turn."""
    decoder = OnnxMaskDecoder(bundle, threads=2)
    prepared = decoder.prepare(embedding)
    coords, labels = _boxes(6)
    expected = decoder.decode(prepared, coords, labels).low_res_masks
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(decoder.decode, prepared, coords, labels) for _ in range(4)]
        calls += [pool.submit(decoder.decode, prepared, coords[[0]], labels[[0]]) for _ in range(4)]
        found = [call.result(timeout=60).low_res_masks for call in calls]
    for masks in found:
        np.testing.assert_allclose(masks, expected[: len(masks)], rtol=0, atol=1e-5 * np.abs(expected).max())
