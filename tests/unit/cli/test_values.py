"""Boxes, points and intensity mappings as text."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from hilum import CT_SOFT_TISSUE, CT_STONE, Box, PercentileRange, Point, Window
from hilum.cli.values import (
    PRESETS,
    chosen_mapping,
    parse_box,
    parse_mapping,
    parse_percentile,
    parse_point,
    parse_window,
)

NUMBER = st.floats(-1e6, 1e6, allow_nan=False)


@given(NUMBER, NUMBER, st.floats(0.5, 1e3), st.floats(0.5, 1e3))
def test_boxes_and_points_are_read_exactly(x: float, y: float, width: float, height: float) -> None:
    """Numbers written with all their digits come back as they were, negative ones and exponents, too."""
    box = Box(x, y, x + width, y + height)
    assert parse_box(f"{box.x_min!r},{box.y_min!r},{box.x_max!r},{box.y_max!r}") == box
    assert parse_point(f"{x!r},{y!r}") == Point(x, y)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,nan,4", "1,2,inf,4", "5,2,3,4", "1,4,3,2"])
def test_other_boxes_are_usage_errors(text: str) -> None:
    """Too few or many numbers, none at all, and edges in the wrong order are refused."""
    with pytest.raises(typer.BadParameter):
        parse_box(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes a parser fail in another way than with a usage error."""
    for parse in (parse_box, parse_point, parse_window, parse_percentile, parse_mapping):
        try:
            parse(text)
        except typer.BadParameter:
            continue


def test_mappings() -> None:
    """A window, percentiles and a preset's name are told apart; nothing is the image's own."""
    assert parse_mapping("40,400") == CT_SOFT_TISSUE
    assert parse_mapping("-600,1500") == Window(-600, 1500)
    assert parse_mapping("1%,99%") == PercentileRange(1, 99)
    assert parse_mapping("stone") == CT_STONE
    assert parse_mapping(None) is None
    for text in ("bones", "40", "99%,1%", "0,0"):
        with pytest.raises(typer.BadParameter):
            parse_mapping(text)


def test_only_one_mapping_is_chosen() -> None:
    """Window, preset and percentiles exclude one another."""
    assert chosen_mapping(None, None, None) is None
    assert chosen_mapping(None, "liver", None) == PRESETS["liver"]
    assert chosen_mapping(Window(1, 2), None, None) == Window(1, 2)
    assert chosen_mapping(None, None, PercentileRange()) == PercentileRange()
    with pytest.raises(typer.BadParameter):
        chosen_mapping(Window(1, 2), "liver", None)
