"""How two images are shown as one, as it is said on the command line."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal, TypeAlias

import typer

from hilum.errors import InvalidField
from hilum.fusion_style import (
    AlphaBlend,
    BaseRule,
    Checkerboard,
    ColourOverlay,
    Flicker,
    FusionStyle,
    PyramidFusion,
)

StyleName: TypeAlias = Literal["pyramid", "overlay", "blend", "checkerboard", "flicker"]
BaseRuleName: TypeAlias = Literal["local-energy", "average", "maximum"]

StyleOption: TypeAlias = Annotated[StyleName, typer.Option(help="How both are shown.")]
LevelsOption: TypeAlias = Annotated[int | None, typer.Option(help="pyramid: levels, 1 to 6; 3 if not given.")]
BaseRuleOption: TypeAlias = Annotated[
    BaseRuleName | None,
    typer.Option(help="pyramid: how what is left of details is combined; local-energy if not given."),
]
MatchThresholdOption: TypeAlias = Annotated[
    float | None, typer.Option(help="pyramid: match from which details are mixed, -1 to 1; 0 if not given.")
]
GradientFidelityOption: TypeAlias = Annotated[
    float | None, typer.Option(help="pyramid: rebuild the picture from both images' gradients, such as 1.")
]
OpacityOption: TypeAlias = Annotated[
    float | None, typer.Option(help="overlay, blend: of the moving image, 0 to 1; 0.5 if not given.")
]
TileOption: TypeAlias = Annotated[
    int | None, typer.Option(metavar="PX", help="checkerboard: side of a tile; an eighth of the picture if not given.")
]

_STYLES: dict[StyleName, type[FusionStyle]] = {
    "pyramid": PyramidFusion,
    "overlay": ColourOverlay,
    "blend": AlphaBlend,
    "checkerboard": Checkerboard,
    "flicker": Flicker,
}


def parse_style(name: StyleName, *, base_rule: BaseRuleName | None = None, **given: float | None) -> FusionStyle:
    """Returns a style with its options, those that are None at their defaults.

    Raises:
        typer.BadParameter: An option belongs to another style, or is out of its range.
    """
    options: dict[str, Any] = {option: value for option, value in given.items() if value is not None}
    if base_rule is not None:
        options["base_rule"] = BaseRule[base_rule.upper().replace("-", "_")]
    style = _STYLES[name]
    for option in options.keys() - {field.name for field in fields(style)}:
        raise typer.BadParameter(f"is no option of --style {name}", param_hint=_flag(option))
    try:
        return style(**options)
    except InvalidField as error:
        raise typer.BadParameter(error.message, param_hint=_flag(error.field)) from error


def _flag(option: str) -> str:
    return "--" + option.removesuffix("_px").replace("_", "-")
