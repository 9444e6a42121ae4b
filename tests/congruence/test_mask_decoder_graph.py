"""The rewritten mask decoder, as torch module and as ONNX graphs, against segment-anything's own modules."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.serving.bundle import Bundle
from modeling.bundle_writer import write_bundle
from modeling.mask_decoder import MaskDecoder
from services.decoder.mask_decoder import OnnxMaskDecoder, PreparedImage
from tests.congruence.oracle import (
    RANDOM_SAM_SPEC,
    SamPrompt,
    lite_medsam,
    oracle_masks,
    random_image_embedding,
    random_sam,
)

# Largest difference of a logit or score, relative to the largest logit; measured: about 2e-6.
TOLERANCE = 1e-5
POINTS = ((90.0, 100.5, 1), (130.25, 60.0, 0), (180.0, 200.0, 1), (20.0, 30.0, 0))
BOX = (40.5, 50.0, 170.25, 190.0)
PROMPTS = {
    "box": SamPrompt(box=BOX),
    "one point": SamPrompt(points=POINTS[:1]),
    "points with negatives": SamPrompt(points=POINTS),
    "box and points": SamPrompt(points=POINTS[:2], box=BOX),
    "mask": SamPrompt(),
}


@dataclass(frozen=True)
class Subject:
    """A model, one image's embedding, and the same in the rewritten decoder's two forms."""

    model: nn.Module
    embedding: Tensor
    module: MaskDecoder
    graphs: OnnxMaskDecoder
    prepared: PreparedImage

    @property
    def mask_side(self) -> int:
        return 4 * int(self.embedding.shape[-1])

    def graph_masks(self, prompt: SamPrompt) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        answer = self.graphs.decode(self.prepared, *prompt.tokens(), prompt.mask_batch())
        return answer.low_res_masks, answer.iou_predictions

    def module_masks(self, prompt: SamPrompt) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        coords, labels = (torch.from_numpy(array) for array in prompt.tokens())
        mask = prompt.mask_batch()
        with torch.inference_mode():
            prepared = self.module.prepare(self.embedding)
            if mask is None:
                masks, scores = self.module(prepared, coords, labels)
            else:
                masks, scores = self.module.with_mask(prepared.image_tokens, coords, labels, torch.from_numpy(mask))
        return masks.numpy(), scores.numpy()


def _subject(model: nn.Module, bundle: Bundle) -> Subject:
    embedding = random_image_embedding(model, seed=1)
    graphs = OnnxMaskDecoder(bundle, threads=1)
    decoder = MaskDecoder(model.prompt_encoder, model.mask_decoder).eval()
    return Subject(model, embedding, decoder, graphs, graphs.prepare(embedding.numpy()))


@pytest.fixture(scope="module", params=["random SAM", "LiteMedSAM"])
def subject(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, lite_medsam_bundle: Bundle
) -> Iterator[Subject]:
    if request.param == "LiteMedSAM":
        yield _subject(lite_medsam(), lite_medsam_bundle)
    else:
        model = random_sam()
        yield _subject(model, write_bundle(model, RANDOM_SAM_SPEC, tmp_path_factory.mktemp("bundles") / "sam").bundle)


@pytest.fixture(params=["module", "graph"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _answer(subject: Subject, form: str, prompt: SamPrompt) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return subject.module_masks(prompt) if form == "module" else subject.graph_masks(prompt)


def _assert_same(subject: Subject, form: str, prompt: SamPrompt) -> None:
    expected_masks, expected_scores = oracle_masks(subject.model, subject.embedding, prompt)
    masks, scores = _answer(subject, form, prompt)
    bound = TOLERANCE * float(expected_masks.abs().max())
    assert masks.shape == tuple(expected_masks.shape)
    assert np.abs(masks - expected_masks.numpy()).max() <= bound
    assert np.abs(scores - expected_scores.numpy()).max() <= TOLERANCE * max(1.0, float(expected_scores.abs().max()))


@pytest.mark.parametrize("kind", [kind for kind in PROMPTS if kind != "mask"])
def test_every_kind_of_prompt_gives_the_oracles_logits_and_scores(subject: Subject, form: str, kind: str) -> None:
    """A prompt of points and a box gets segment-anything's logits and scores, up to rounding."""
    _assert_same(subject, form, PROMPTS[kind])


@pytest.mark.parametrize("kind", PROMPTS)
def test_every_kind_of_prompt_with_a_mask_gives_the_oracles_answer(subject: Subject, form: str, kind: str) -> None:
    """A prompt refined by an earlier mask, or made of one alone, gets segment-anything's logits and scores."""
    earlier = oracle_masks(subject.model, subject.embedding, PROMPTS["box"])[0]
    _assert_same(subject, form, replace(PROMPTS[kind], mask_input=earlier[0, 0].numpy()))


def test_prompts_in_one_call_get_what_each_gets_alone(subject: Subject) -> None:
    """Prompts decoded together, with and without masks, do not change one another's answers."""
    boxes = [SamPrompt(box=(10.0 + 9 * i, 20.0, 120.0 + 5 * i, 150.0)) for i in range(3)]
    coords, labels = (np.concatenate(arrays) for arrays in zip(*[box.tokens() for box in boxes], strict=True))
    masks = np.concatenate([subject.graph_masks(box)[0][:, :1] for box in boxes])
    for mask_input in (None, masks):
        together = subject.graphs.decode(subject.prepared, coords, labels, mask_input)
        for i, box in enumerate(boxes):
            alone = subject.graph_masks(replace(box, mask_input=None if mask_input is None else mask_input[i, 0]))
            np.testing.assert_array_equal(together.low_res_masks[i], alone[0][0])
            np.testing.assert_array_equal(together.iou_predictions[i], alone[1][0])


def test_the_module_decodes_prompts_together_as_it_does_alone(subject: Subject) -> None:
    """The rewritten module takes a batch of prompts, as training and a batching server need."""
    boxes = [SamPrompt(box=(10.0 + 9 * i, 20.0, 120.0 + 5 * i, 150.0)) for i in range(3)]
    coords, labels = (
        torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*[b.tokens() for b in boxes], strict=True)
    )
    with torch.inference_mode():
        together, _ = subject.module(subject.module.prepare(subject.embedding), coords, labels)
    for i, box in enumerate(boxes):
        alone, _ = subject.module_masks(box)
        np.testing.assert_allclose(together[i].numpy(), alone[0], rtol=0, atol=TOLERANCE * float(np.abs(alone).max()))


def test_masks_of_random_prompts_cover_the_oracles_pixels(subject: Subject) -> None:
    """On 100 random prompts, every mask covering 5 to 95 % of the image has IoU >= .999 with the oracle's."""
    generator = np.random.default_rng(7)
    side = 256.0
    counted = 0
    for _ in range(100):
        low, high = np.sort(generator.uniform(0, side - 1, (2, 2)), axis=0)
        points = tuple(
            (*generator.uniform(0, side - 1, 2), int(generator.integers(2))) for _ in range(generator.integers(4))
        )
        box = (*low, *high) if not points or generator.random() < 0.5 else None
        prompt = SamPrompt(points, box)
        expected = oracle_masks(subject.model, subject.embedding, prompt)[0].numpy() > 0
        found = subject.graph_masks(prompt)[0] > 0
        area = expected.mean((2, 3))
        intersection, union = (expected & found).sum((2, 3)), (expected | found).sum((2, 3))
        counts = (area >= 0.05) & (area <= 0.95)
        counted += int(counts.sum())
        assert (intersection[counts] >= 0.999 * union[counts]).all()
    assert counted >= 50, f"only {counted} masks of 5 to 95 % area: the test would prove nothing"


@pytest.mark.parametrize("with_mask", [False, True])
def test_the_rewritten_decoder_trains_the_weights_as_segment_anythings_would(with_mask: bool) -> None:
    """Every weight of prompt encoder and mask decoder gets segment-anything's gradient, up to rounding.

    A weight that changes nothing, as a key's bias under softmax, may have no gradient or one of zero.
    """
    model: Any = random_sam()
    embedding = random_image_embedding(model, seed=1)
    coords, labels = torch.tensor([[[90.0, 100.5], [40.0, 20.0]]]), torch.tensor([[1.0, 0.0]])
    box, mask = torch.tensor([BOX]), torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    weights = dict(model.prompt_encoder.named_parameters()) | dict(model.mask_decoder.named_parameters())

    def gradients(masks: Tensor, scores: Tensor) -> dict[str, Tensor]:
        model.zero_grad()
        loss = masks.sigmoid().square().mean((0, 2, 3)).sum() + scores.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return {name: weight.grad.clone() for name, weight in weights.items() if weight.grad is not None}

    sparse, dense = model.prompt_encoder((coords, labels), box, mask if with_mask else None)
    position = model.prompt_encoder.get_dense_pe()
    expected = gradients(*model.mask_decoder.predict_masks(embedding, position, sparse, dense))
    decoder = MaskDecoder(model.prompt_encoder, model.mask_decoder)
    points = torch.cat([coords, box.reshape(1, 2, 2)], 1), torch.cat([labels, torch.tensor([[2.0, 3.0]])], 1)
    tokens = decoder.prepare(embedding)
    found = gradients(
        *(decoder.with_mask(tokens.image_tokens, *points, mask) if with_mask else decoder(tokens, *points))
    )
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, weight in weights.items():
        nothing = torch.zeros_like(weight)
        same, gradient = found.get(name, nothing), expected.get(name, nothing)
        torch.testing.assert_close(same, gradient, rtol=1e-3, atol=1e-5 * largest, msg=name)
