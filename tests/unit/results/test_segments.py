"""One mask per prompt, with number and label."""

import numpy as np
import pytest

from hilum.errors import InvalidField
from hilum.results.segments import chosen_segments, require_same_size, score_words
from hilum.types import Box, Image, ImageSource, Prediction, Prompt
from tests.unit.results.conftest import disc, predicted, prediction


def test_of_several_masks_the_highest_score_is_chosen() -> None:
    """Three masks per prompt become one; numbers and labels follow the prompts."""
    masks = [predicted(disc((8, 8), 4, 4, radius), score) for radius, score in ((1, 0.5), (2, 0.9), (3, 0.7))]
    answer = Prediction((tuple(masks), (masks[0],)), "m", "e", "d", ("memory",), {})
    first, second = chosen_segments(answer, labels=["stone", "kidney"])
    assert (first.number, first.label, first.predicted.model_score) == (1, "stone", 0.9)
    assert (second.number, second.label) == (2, "kidney")
    assert [segment.label for segment in chosen_segments(answer)] == ["Target 1", "Target 2"]


@pytest.mark.parametrize(
    ("expected_iou", "abstain", "words"),
    [
        (None, None, "model score 0.90"),
        (0.81, False, "model score 0.90, expected IoU 0.81"),
        (0.42, True, "model score 0.90, expected IoU 0.42, abstains: look again"),
    ],
)
def test_an_iou_is_spoken_of_only_where_it_is_calibrated(
    expected_iou: float | None, abstain: bool | None, words: str
) -> None:
    """The raw score is called a model score; expected IoU and abstention are told where they are known."""
    mask = predicted(disc((8, 8), 4, 4, 2), expected_iou=expected_iou, abstain=abstain)
    assert score_words(mask) == words


def test_prompts_labels_and_sizes_must_fit() -> None:
    """A label too few, a prompt too many or a mask of another size is refused by field."""
    answer = prediction(ImageSource(), disc((8, 8), 4, 4, 2))
    for options in ({"labels": ["a", "b"]}, {"prompts": [Prompt(box=Box(0, 0, 1, 1))] * 2}):
        with pytest.raises(InvalidField) as error:
            chosen_segments(answer, **options)
        assert error.value.field == next(iter(options))
    with pytest.raises(InvalidField, match=r"image of \(9, 8\)"):
        require_same_size(Image(np.zeros((9, 8), np.uint8)), chosen_segments(answer))
