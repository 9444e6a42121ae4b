"""Prompts as the mask decoder's prompt encoder wants them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.errors import PromptNotSupported
from hilum.serving.bundle import PromptKinds
from hilum.types import Box, Point, Prompt
from services.decoder.prompts import CanvasMap, batches, check_kinds

CANVAS = CanvasMap((50, 100), (32, 64))
LOGITS = np.zeros((16, 16), np.float32)


@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.tuples(st.integers(1, 256), st.integers(1, 256)),
    st.tuples(st.integers(0, 500), st.integers(0, 500)),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_edges_go_to_edges(
    image_size: tuple[int, int], input_size: tuple[int, int], offset: tuple[int, int], u: float, v: float
) -> None:
    """A place at a share of the image lies at the same share of the canvas: pixel edges meet pixel edges."""
    (height, width), (rows, columns) = image_size, input_size
    place = np.array([[offset[0] + u * width - 0.5, offset[1] + v * height - 0.5]])
    mapped = CanvasMap(image_size, input_size, offset).to_canvas(place)
    np.testing.assert_allclose(mapped, [[u * columns - 0.5, v * rows - 0.5]], atol=1e-3)


def test_the_example_in_numbers() -> None:
    """From 512 to 256 the first pixel's centre lies at -.25, half a canvas pixel from where x * s puts it."""
    canvas = CanvasMap((512, 512), (256, 256))
    assert canvas.to_canvas(np.array([[0.0, 0.0], [511.0, 511.0]])).tolist() == [[-0.25, -0.25], [255.25, 255.25]]


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        (Prompt(points=(Point(1, 2),)), [1, -1]),
        (Prompt(points=(Point(1, 2), Point(3, 4, foreground=False))), [1, 0, -1]),
        (Prompt(box=Box(1, 2, 3, 4)), [2, 3]),
        (Prompt(points=(Point(1, 2, foreground=False),), box=Box(1, 2, 3, 4)), [0, 2, 3]),
        (Prompt(mask_input=LOGITS), []),
        (Prompt(points=(Point(1, 2),), mask_input=LOGITS), [1, -1]),
    ],
)
def test_tokens(prompt: Prompt, labels: list[int]) -> None:
    """Points come first, then a box's corners, or one padding point where there are points and no box."""
    (batch,) = batches([prompt], CANVAS, 16)
    assert batch.point_labels.tolist() == [labels]
    assert batch.point_coords.shape == (1, len(labels), 2)
    if labels and labels[-1] == -1:
        assert batch.point_coords[0, -1].tolist() == [0, 0]
    assert (batch.mask_input is None) == (prompt.mask_input is None)
    if batch.mask_input is not None:
        assert batch.mask_input.shape == (1, 1, 16, 16)


prompts = st.builds(
    Prompt,
    st.lists(st.builds(Point, st.floats(0, 99), st.floats(0, 49), st.booleans()), max_size=3).map(tuple),
    st.none() | st.just(Box(1, 2, 30, 40)),
    st.none() | st.just(LOGITS),
).filter(lambda prompt: bool(prompt.points) or prompt.box is not None or prompt.mask_input is not None)


@given(st.lists(prompts, min_size=1, max_size=20), st.integers(1, 6))
def test_every_prompt_is_in_one_batch(given_prompts: list[Prompt], max_batch: int) -> None:
    """Batches hold every prompt once, at most so many, with equal numbers of tokens, with a mask all or none."""
    made = batches(given_prompts, CANVAS, max_batch)
    assert sorted(index for batch in made for index in batch.indices) == list(range(len(given_prompts)))
    for batch in made:
        assert 1 <= len(batch.indices) <= max_batch
        assert batch.point_coords.shape == (*batch.point_labels.shape, 2)
        for index, labels in zip(batch.indices, batch.point_labels, strict=True):
            prompt = given_prompts[index]
            assert (prompt.mask_input is not None) == (batch.mask_input is not None)
            assert np.count_nonzero(np.isin(labels, (0, 1))) == len(prompt.points)
            assert np.count_nonzero(labels == 2) == (prompt.box is not None)


@pytest.mark.parametrize(
    ("kinds", "prompt", "field", "works"),
    [
        (PromptKinds(points=False, box=True, mask_input=False), Prompt(points=(Point(1, 2),)), "points", "a box"),
        (PromptKinds(points=True, box=False, mask_input=True), Prompt(box=Box(1, 2, 3, 4)), "box", "points and mask"),
        (PromptKinds(points=True, box=True, mask_input=False), Prompt(mask_input=LOGITS), "mask_input", "points"),
    ],
)
def test_untrained_kinds_are_refused(kinds: PromptKinds, prompt: Prompt, field: str, works: str) -> None:
    """A kind of prompt that a model was not trained on is refused, with its place and with what works instead."""
    fine = Prompt(box=Box(1, 2, 3, 4)) if kinds.box else Prompt(points=(Point(1, 2),))
    check_kinds([fine], kinds, "m")
    with pytest.raises(PromptNotSupported, match=works) as caught:
        check_kinds([fine, prompt], kinds, "m")
    assert caught.value.field == f"prompts[1].{field}"
