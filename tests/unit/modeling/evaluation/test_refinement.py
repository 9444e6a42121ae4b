"""modeling.evaluation.refinement: the service's refinement, to the pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.types import BoolMask, Box
from modeling.evaluation import geometry
from modeling.evaluation.refinement import follow_intensities
from services.decoder.refinement import Outcome, Patch, refine_bright

ROWS, COLUMNS = np.mgrid[:40, :56]


def _disc(row: float, column: float, radius: float) -> BoolMask:
    disc: BoolMask = (ROWS - row) ** 2 + (COLUMNS - column) ** 2 <= radius**2
    return disc


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 180), st.floats(0, 40), st.floats(0, 12), st.floats(-8, 8))
def test_masks_are_the_services(seed: int, contrast: int, noise: float, radius: float, offset: float) -> None:
    """Whatever the image, mask and prompt, the answer is the service's: refined, or kept for any of its reasons."""
    random = np.random.default_rng(seed)
    image = 60 + contrast * _disc(18, 25, 7) + random.normal(0, noise, ROWS.shape)
    intensities = np.clip(image, 0, 255).astype(np.uint8)
    mask = _disc(18 + offset, 25 + offset, radius)
    for box in (None, geometry.jittered(Box(17.5, 10.5, 32.5, 25.5), 5, (40, 56), random)):
        expected, _ = refine_bright(mask, box, Patch(intensities, 0, 0))
        assert (follow_intensities(mask, box, intensities) == (mask if expected is None else expected)).all()


@pytest.mark.parametrize(
    ("image", "mask", "outcome"),
    [
        (60 + 150 * _disc(18, 25, 7), _disc(19, 26, 6), Outcome.APPLIED),
        (60 + 150 * _disc(18, 25, 7), ROWS < 0, Outcome.KEPT_EMPTY),
        (60 + 0 * ROWS, _disc(18, 25, 7), Outcome.KEPT_LOW_CONTRAST),
        (np.random.default_rng(1).normal(100, 20, ROWS.shape), _disc(18, 25, 7), Outcome.KEPT_LOW_CONTRAST),
        (60 + 150 * ((ROWS % 4 == 0) & (COLUMNS % 4 == 0)), _disc(18, 25, 12), Outcome.KEPT_DISAGREES),
    ],
)
def test_each_of_the_services_reasons(image: BoolMask, mask: BoolMask, outcome: Outcome) -> None:
    """Where the service refines, the answer is another mask, which is the bright object; else it is the mask given."""
    intensities = image.astype(np.uint8)
    expected, reason = refine_bright(mask, None, Patch(intensities, 0, 0))
    found = follow_intensities(mask, None, intensities)
    assert reason == outcome
    assert (expected is None) == (found is mask)
    if expected is not None:
        assert (found == expected).all()
        assert (found == _disc(18, 25, 7)).all()
