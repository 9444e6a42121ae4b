"""How two images are shown: what is refused before anything is sent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hilum import AlphaBlend, Checkerboard, ColourOverlay, Flicker, PyramidFusion
from hilum.errors import InvalidField


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: PyramidFusion(levels=0), "levels"),
        (lambda: PyramidFusion(levels=7), "levels"),
        (lambda: PyramidFusion(window_px=4), "window_px"),
        (lambda: PyramidFusion(window_px=17), "window_px"),
        (lambda: PyramidFusion(match_threshold=1.0), "match_threshold"),
        (lambda: PyramidFusion(match_threshold=np.nan), "match_threshold"),
        (lambda: PyramidFusion(energy_ratio=0.9), "energy_ratio"),
        (lambda: PyramidFusion(energy_ratio=np.inf), "energy_ratio"),
        (lambda: PyramidFusion(noise_floor=-0.1), "noise_floor"),
        (lambda: PyramidFusion(background=1.1), "background"),
        (lambda: PyramidFusion(gradient_fidelity=0.0), "gradient_fidelity"),
        (lambda: PyramidFusion(gradient_fidelity=np.nan), "gradient_fidelity"),
        (lambda: ColourOverlay(opacity=1.5), "opacity"),
        (lambda: AlphaBlend(opacity=np.nan), "opacity"),
        (lambda: Checkerboard(tile_px=0), "tile_px"),
        (lambda: Checkerboard(tile_px=5000), "tile_px"),
    ],
)
def test_numbers_out_of_range_are_refused(make: Callable[[], object], field: str) -> None:
    """A number out of its range, or none, is refused where it is given, with the option's name."""
    with pytest.raises(InvalidField) as refused:
        make()
    assert refused.value.field == field


def test_styles_are_values() -> None:
    """Equal styles are equal, and may be kept in sets."""
    styles = {PyramidFusion(), PyramidFusion(levels=3), ColourOverlay(), AlphaBlend(), Checkerboard(), Flicker()}
    assert len(styles) == 5
