"""Prompts, from values to messages and back."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.codec.prompts import MAX_LOGIT, MAX_POINTS, prompt_from_message, prompt_to_message
from hilum.errors import HilumError, InvalidField, InvalidTensor, LimitExceeded, OutsideImage
from hilum.types import Box, Point, Prompt
from hilum.v1 import image_pb2

SIZE = (60, 80)
inside_x, inside_y = st.floats(-0.5, SIZE[1] - 0.5), st.floats(-0.5, SIZE[0] - 0.5)
points = st.builds(Point, inside_x, inside_y, st.booleans())
boxes = (
    st.tuples(inside_x, inside_y, inside_x, inside_y)
    .filter(lambda edges: edges[0] < edges[2] and edges[1] < edges[3])
    .map(lambda edges: Box(*edges))
)
anything = st.floats()


@given(st.lists(points, max_size=MAX_POINTS).map(tuple), st.none() | boxes, st.booleans())
def test_round_trip(given_points: tuple[Point, ...], box: Box | None, with_mask: bool) -> None:
    """Prompts inside the image come back as they were, edges of the image included."""
    mask = np.linspace(-9, 9, 64, dtype=np.float32).reshape(8, 8) if with_mask else None
    prompt = Prompt(given_points, box, mask)
    message = prompt_to_message(prompt)
    if not given_points and box is None and mask is None:
        with pytest.raises(InvalidField, match="empty"):
            prompt_from_message(message, "prompt", SIZE, 8)
        return
    back = prompt_from_message(message, "prompt", SIZE, 8)
    assert (back.points, back.box) == (given_points, box)
    assert (back.mask_input is None) == (mask is None)
    if mask is not None and back.mask_input is not None:
        assert np.array_equal(back.mask_input, mask)


@given(anything, anything, anything, anything)
def test_any_box(x_min: float, y_min: float, x_max: float, y_max: float) -> None:
    """A box is refused, or has an area inside the image: what reaches beyond is cut."""
    message = prompt_to_message(Prompt(box=Box(x_min, y_min, x_max, y_max)))
    ordered = x_min < x_max and y_min < y_max and all(map(math.isfinite, (x_min, y_min, x_max, y_max)))
    if not (ordered and x_max > -0.5 and y_max > -0.5 and x_min < SIZE[1] - 0.5 and y_min < SIZE[0] - 0.5):
        with pytest.raises(OutsideImage if ordered else InvalidField) as caught:
            prompt_from_message(message, "prompt", SIZE)
        assert caught.value.field == "prompt.box"
        return
    box = prompt_from_message(message, "prompt", SIZE).box
    assert box is not None
    assert -0.5 <= box.x_min < box.x_max <= SIZE[1] - 0.5
    assert -0.5 <= box.y_min < box.y_max <= SIZE[0] - 0.5
    assert box == Box(max(x_min, -0.5), max(y_min, -0.5), min(x_max, SIZE[1] - 0.5), min(y_max, SIZE[0] - 0.5))


@given(anything, anything)
def test_any_point(x: float, y: float) -> None:
    """A point is accepted exactly where it lies on a pixel of the image."""
    message = prompt_to_message(Prompt(points=(Point(x, y),)))
    if -0.5 <= x <= SIZE[1] - 0.5 and -0.5 <= y <= SIZE[0] - 0.5:
        assert prompt_from_message(message, "prompt", SIZE).points == (Point(x, y),)
    else:
        with pytest.raises((InvalidField, OutsideImage)) as caught:
            prompt_from_message(message, "prompt", SIZE)
        assert caught.value.field == "prompt.points[0].point"


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        (np.zeros((8, 9), np.float32), InvalidTensor),
        (np.zeros((8, 8), np.float16), InvalidTensor),
        (np.full((8, 8), np.nan, np.float32), InvalidTensor),
        (np.full((8, 8), -MAX_LOGIT * 1.01, np.float32), InvalidTensor),
    ],
    ids=["shape", "type", "NaN", "absurd"],
)
def test_mask_inputs_that_are_none(mask: np.ndarray, error: type[HilumError]) -> None:
    """A mask input of another size or type, or of logits that no model makes, is refused."""
    with pytest.raises(error) as caught:
        prompt_from_message(prompt_to_message(Prompt(mask_input=mask)), "prompts[2]", SIZE, 8)
    assert caught.value.field == "prompts[2].mask_input"


def test_limits_and_labels() -> None:
    """65 points are too many, and a label must be one of the two."""
    message = prompt_to_message(Prompt(points=(Point(1, 1),) * (MAX_POINTS + 1)))
    with pytest.raises(LimitExceeded):
        prompt_from_message(message, "prompt", SIZE)
    del message.points[1:]
    message.points[0].label = image_pb2.POINT_LABEL_UNSPECIFIED
    with pytest.raises(InvalidField, match="FOREGROUND or BACKGROUND"):
        prompt_from_message(message, "prompt", SIZE)
