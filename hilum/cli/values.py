"""Values as they are written on the command line: boxes, points, intensity mappings."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import typer

from hilum.registration_options import LandmarkPair
from hilum.types import (
    CT_BONE,
    CT_BRAIN,
    CT_LIVER,
    CT_LUNG,
    CT_SOFT_TISSUE,
    CT_STONE,
    Box,
    IntensityMapping,
    PercentileRange,
    Point,
    Window,
)

Preset: TypeAlias = Literal["soft-tissue", "liver", "lung", "bone", "stone", "brain"]

PRESETS: dict[str, Window] = {
    "soft-tissue": CT_SOFT_TISSUE,
    "liver": CT_LIVER,
    "lung": CT_LUNG,
    "bone": CT_BONE,
    "stone": CT_STONE,
    "brain": CT_BRAIN,
}


def parse_box(text: str) -> Box:
    """Reads X0,Y0,X1,Y1 in pixels of the full image."""
    x_min, y_min, x_max, y_max = _numbers(text, "X0,Y0,X1,Y1")
    if not (x_min < x_max and y_min < y_max):
        raise typer.BadParameter(f"{text}: X0 < X1 and Y0 < Y1 must hold")
    return Box(x_min, y_min, x_max, y_max)


def parse_point(text: str) -> Point:
    """Reads X,Y in pixels of the full image."""
    x, y = _numbers(text, "X,Y")
    return Point(x, y)


def parse_landmark(text: str) -> LandmarkPair:
    """Reads X,Y,X,Y in pixels: a point of the fixed image, then of the moving one."""
    fixed_x, fixed_y, moving_x, moving_y = _numbers(text, "X,Y,X,Y")
    return LandmarkPair((fixed_x, fixed_y), (moving_x, moving_y))


def parse_window(text: str) -> Window:
    """Reads CENTER,WIDTH in the image's own units."""
    center, width = _numbers(text, "CENTER,WIDTH")
    if width <= 0:
        raise typer.BadParameter(f"{text}: the width must be above 0")
    return Window(center, width)


def parse_percentile(text: str) -> PercentileRange:
    """Reads LO,HI in percent."""
    lower, upper = _numbers(text, "LO,HI")
    if not 0 <= lower < upper <= 100:
        raise typer.BadParameter(f"{text}: 0 <= LO < HI <= 100 must hold")
    return PercentileRange(lower, upper)


def parse_mapping(text: str | None) -> IntensityMapping | None:
    """Reads a preset's name, a window CENTER,WIDTH, or percentiles LO%,HI%; None for the image's own."""
    if text is None:
        return None
    if text in PRESETS:
        return PRESETS[text]
    if text.endswith("%"):
        return parse_percentile(text.replace("%", ""))
    if "," in text:
        return parse_window(text)
    raise typer.BadParameter(f"{text}: give CENTER,WIDTH, LO%,HI%, or one of {', '.join(PRESETS)}")


def chosen_mapping(
    window: Window | None, preset: Preset | None, percentile: PercentileRange | None
) -> IntensityMapping | None:
    """Returns the one mapping that was given, None for the image's own."""
    given = [choice for choice in (window, preset, percentile) if choice is not None]
    if len(given) > 1:
        raise typer.BadParameter("give one of them, not several", param_hint=["--window", "--preset", "--percentile"])
    return window or percentile or (PRESETS[preset] if preset is not None else None)


def _numbers(text: str, form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != form.count(",") + 1 or not all(math.isfinite(number) for number in numbers):
        raise typer.BadParameter(f"{text}: must be {form}, numbers without spaces")
    return numbers
