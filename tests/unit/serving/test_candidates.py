"""Three candidates of four masks."""

import numpy as np
from numpy.typing import NDArray

from hilum.serving.bundle import PromptKinds
from hilum.serving.candidates import three_candidates

CLICKED = PromptKinds(points=True, box=True, mask_input=True, single_click=True)
PLAIN = PromptKinds(points=True, box=True, mask_input=True)


def stripes(*widths: int) -> NDArray[np.float32]:
    """Logits of four masks, each as many columns wide as named."""
    return np.stack([np.where(np.arange(16) < width, 4, -4) * np.ones((16, 1)) for width in widths]).astype(np.float32)


def test_masks_one_to_three_are_the_candidates_of_a_model_without_a_mask_for_clicks() -> None:
    """A model as segment-anything's answers with its masks 1 to 3, however alike."""
    assert three_candidates(stripes(8, 8, 8, 2), 0.0, PLAIN) == (1, 2, 3)


def test_the_likeliest_mask_takes_the_place_of_the_one_most_like_it() -> None:
    """Where mask 0 is the first choice, it is the first candidate and stands there once, whichever repeats it."""
    assert three_candidates(stripes(8, 7, 14, 2), 0.0, CLICKED) == (0, 2, 3)
    assert three_candidates(stripes(8, 14, 7, 2), 0.0, CLICKED) == (0, 1, 3)
    assert three_candidates(stripes(8, 14, 2, 7), 0.0, CLICKED) == (0, 1, 2)


def test_empty_masks_are_candidates_too() -> None:
    """Four masks of which some or all are empty give three different ones."""
    assert len(set(three_candidates(stripes(0, 0, 0, 0), 0.0, CLICKED))) == 3
    assert three_candidates(stripes(5, 0, 5, 0), 0.0, CLICKED) == (0, 1, 3)


def test_the_threshold_says_what_is_mask() -> None:
    """Likeness is that of the masks which the caller gets, at the model's own threshold."""
    logits = stripes(8, 8, 4, 12)
    logits[1] -= 3  # Nothing of it is above 2, nothing of it changes at 0.
    assert three_candidates(logits, 0.0, CLICKED) == (0, 2, 3)
    assert three_candidates(logits, 2.0, CLICKED) == (0, 1, 2)
