"""modeling.variation: training images seen anew."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling.training_set import SMALLEST_MASK_PX, TrainingImage
from modeling.variation import STRENGTHS, varied

SIDE = 64
STRENGTH = STRENGTHS["strong"]


def _image(height: int, width: int) -> TrainingImage:
    """A bright block on a dark ground, as wide as the canvas or as high."""
    masks = np.zeros((1, SIDE, SIDE), np.bool_)
    masks[0, height // 4 : height // 2, width // 4 : width // 2] = True
    picture = np.where(masks[0, :height, :width], 200, 20).astype(np.uint8)
    embedding = np.ones((1, 2, 2, 2), np.float16)
    return TrainingImage(picture, embedding, masks, np.ones(1, np.bool_), (height, width), "blocks")


@settings(deadline=None)
@given(st.integers(24, SIDE), st.integers(0, 2**32 - 1))
def test_the_masks_follow_the_picture(height: int, seed: int) -> None:
    """Whatever crop, turn and mirroring, one mask remains, large enough, and inside the picture."""
    found = varied(_image(height, SIDE), np.random.default_rng(seed), STRENGTH)
    rows, columns = found.input_size
    assert max(rows, columns) == SIDE
    assert not found.masks[:, rows:].any()
    assert not found.masks[:, :, columns:].any()
    assert all(mask.sum() >= SMALLEST_MASK_PX for mask in found.masks)
    assert len(found.masks) == len(found.labelled) == 1


def test_bright_blocks_stay_in_their_masks() -> None:
    """Over many draws the picture is, on average, far brighter inside the mask than outside."""
    inside, outside = [], []
    for seed in range(40):
        found = varied(_image(48, SIDE), np.random.default_rng(seed), STRENGTH)
        rows, columns = found.input_size
        shown = found.masks[0, :rows, :columns]
        picture = cv2.resize(found.image, (columns, rows))
        inside.append(float(picture[shown].mean()))
        outside.append(float(picture[~shown].mean()))
    assert np.mean(inside) > np.mean(outside) + 80


def test_draws_differ_and_repeat() -> None:
    """Two seeds give two pictures, one seed the same; the stored embedding, which is of another picture, is gone."""
    image = _image(48, SIDE)
    one, again, other = (varied(image, np.random.default_rng(seed), STRENGTH) for seed in (5, 5, 7))
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.masks, again.masks)
    assert one.image.shape != other.image.shape or not np.array_equal(one.image, other.image)
    assert one.embedding.size == 0
