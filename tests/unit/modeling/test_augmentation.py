"""modeling.augmentation: masks stay on what they outline."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling.augmentation import LARGEST_SIDE_PX, Strength, augment
from modeling.sample import tight_box

GEOMETRY_ONLY = Strength(intensity=0.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_a_mask_moves_with_its_target(seed: int) -> None:
    """After any crop, turn and mirroring, the mask covers the bright square that it covered before."""
    random = np.random.default_rng(seed)
    image = np.zeros((120, 160), np.uint8)
    mask = np.zeros((120, 160), np.bool_)
    mask[40:70, 60:100] = True
    image[mask] = 200
    picture, (moved,) = augment(image, [mask], [tight_box(mask)], random, GEOMETRY_ONLY)
    bright = picture > 100
    union = (bright | moved).sum()
    assert moved.shape == picture.shape
    assert union == 0 or (bright & moved).sum() / union > 0.85 or union < 40


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_pictures_stay_pictures(seed: int, colour: bool) -> None:
    """Any augmentation gives uint8 of the same number of channels, no larger than allowed."""
    shape = (700, 900, 3) if colour else (700, 900)
    image = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    picture, masks = augment(image, [], [], np.random.default_rng(seed), Strength(intensity=1.0))
    assert picture.dtype == np.uint8
    assert picture.shape[2:] == image.shape[2:]
    assert max(picture.shape[:2]) <= LARGEST_SIDE_PX
    assert masks == []


def test_one_generator_gives_one_result() -> None:
    """The seed decides everything."""
    image = np.random.default_rng(0).integers(0, 256, (90, 70)).astype(np.uint8)
    first, second = (augment(image, [image > 128], [], np.random.default_rng(5), Strength()) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1][0], second[1][0])
