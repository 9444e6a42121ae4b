"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from hilum.cli.values import Preset, parse_box, parse_percentile, parse_point, parse_window
from hilum.planes import PlaneName
from hilum.types import PercentileRange, Window

FrameOption: TypeAlias = Annotated[int | None, typer.Option(help="DICOM frame or TIFF page, from 1.")]
PlaneOption: TypeAlias = Annotated[
    PlaneName | None, typer.Option(help="Cut of a volume or DICOM series; axial if not given.")
]
IndexOption: TypeAlias = Annotated[
    int | None, typer.Option(help="Slice of a volume or series, from 0: from inferior, anterior or right.")
]
WindowOption: TypeAlias = Annotated[
    Window | None, typer.Option(parser=parse_window, metavar="CENTER,WIDTH", help="Such as 40,400, in HU for CT.")
]
PresetOption: TypeAlias = Annotated[Preset | None, typer.Option(help="A customary CT window.")]
PercentileOption: TypeAlias = Annotated[
    PercentileRange | None,
    typer.Option(parser=parse_percentile, metavar="LO,HI", help="Stretch between percentiles, such as 0.5,99.5."),
]
MappingOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="MAPPING", help="Grey levels: CENTER,WIDTH or LO%,HI% or a preset of `hilum segment`; else the file's."
    ),
]
ModelOption: TypeAlias = Annotated[
    str, typer.Option(metavar="NAME", help="See `hilum doctor`; the server's default if not given.")
]
GroupOption: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="What the image belongs to, such as a study, for `hilum purge`. Never a patient's name."
    ),
]
AcceptFlagOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A quality flag of the transform that you accept. Repeatable."),
]
FixedArgument: TypeAlias = Annotated[
    Path, typer.Argument(exists=True, help="The image whose grid results are shown on.")
]
MovingArgument: TypeAlias = Annotated[Path, typer.Argument(exists=True, help="The image that is brought onto it.")]


def box_option(help_text: str) -> Any:
    """Returns a repeatable option of boxes."""
    return typer.Option(parser=parse_box, metavar="X0,Y0,X1,Y1", help=help_text)


def point_option(name: str, help_text: str) -> Any:
    """Returns a repeatable option of points."""
    return typer.Option(name, parser=parse_point, metavar="X,Y", help=help_text)


def checked_outputs(paths: Sequence[Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Returns the paths; a usage error, before any work is done, for a kind that is not written or a missing folder."""
    for path in paths:
        if not path.name.lower().endswith(suffixes):
            raise typer.BadParameter(f"{path.name}: give a name that ends in {', '.join(suffixes)}", param_hint="--out")
        if not path.parent.is_dir():
            raise typer.BadParameter(f"{path.parent} is no folder", param_hint="--out")
    return list(paths)
