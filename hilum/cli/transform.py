"""`hilum transform`: transforms in the files of other programs, and applied to points. No service is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
import typer

from hilum.cli.console import NOT_FOR_DIAGNOSIS, output
from hilum.cli.fuse import accepted_flags
from hilum.cli.image_grids import NamedImage
from hilum.cli.options import AcceptFlagOption, FrameOption, IndexOption, PlaneOption, checked_outputs
from hilum.cli.registration_report import flag_lines
from hilum.cli.transform_files import ENDINGS, IntentName, TransformFiles, checked_ending
from hilum.errors import InvalidField
from hilum.geometry import Float
from hilum.transform import Transform
from hilum.transform_file import read_transform

Unit: TypeAlias = Literal["px", "plane-mm", "patient-mm"]

transform = typer.Typer(
    no_args_is_help=True,
    help="Convert transforms between Hilum's JSON, ITK, NIfTI and DICOM files, and apply them to points.",
)

_ImageOption: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="PATH", exists=True, help="Needed to read what is not .json, and to write .dcm.")
]


@transform.command()
def convert(
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help=f"A transform: {', '.join(ENDINGS)}.")],
    out: Annotated[Path, typer.Argument(help="What to write, by its ending.")],
    *,
    fixed: _ImageOption = None,
    fixed_frame: FrameOption = None,
    fixed_plane: PlaneOption = None,
    fixed_index: IndexOption = None,
    moving: _ImageOption = None,
    moving_frame: FrameOption = None,
    moving_plane: PlaneOption = None,
    moving_index: IndexOption = None,
    inverse: Annotated[bool, typer.Option("--inverse", help="Write the transform from moving to fixed.")] = False,
    in_plane: Annotated[
        bool, typer.Option("--in-plane", help="Of slices: write ITK and NIfTI files in two dimensions.")
    ] = False,
    intent: Annotated[IntentName, typer.Option(help="Of NIfTI files: 1007, as ITK and ANTs, or 1006.")] = "vector",
    accept_flag: AcceptFlagOption = None,
) -> None:
    """Convert a transform to another kind of file. FIXED and MOVING are those of the transform in SOURCE.

    A transform with quality flags is written to other files than .json only where each is accepted by name.
    """
    checked_ending(source, "SOURCE")
    checked_outputs([checked_ending(out, "OUT")], ENDINGS)
    images = (
        None if fixed is None else NamedImage(fixed, fixed_frame, fixed_plane, fixed_index),
        None if moving is None else NamedImage(moving, moving_frame, moving_plane, moving_index),
    )
    accepted = accepted_flags(accept_flag or [])
    found = TransformFiles(*images).read(source)
    written = found.inverse() if inverse else found
    ordered = images[::-1] if inverse else images
    TransformFiles(*ordered, accepted, in_plane, intent).write(out, written)
    lines = [_description(written), *([_residual(written, found)] if inverse else []), *flag_lines(written.flags)]
    output().print("\n".join([*lines, NOT_FOR_DIAGNOSIS]), markup=False, soft_wrap=True)


@transform.command()
def apply(
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A transform in a .json file.")],
    *,
    point: Annotated[
        list[str] | None, typer.Option(metavar="X,Y[,Z]", help="A point of the fixed image. Repeatable.")
    ] = None,
    points: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Points, X,Y[,Z] on each line.")
    ] = None,
    unit: Annotated[
        Unit, typer.Option(help="px: pixels. plane-mm: mm from the first pixel's centre. patient-mm: LPS.")
    ] = "px",
    inverse: Annotated[
        bool, typer.Option("--inverse", help="Take points of the moving image to the fixed one.")
    ] = False,
) -> None:
    """Take points of the fixed image to the moving image; prints a line per point, flags on standard error."""
    given = _points(point or [], points)
    found = read_transform(source)
    apply_to = {"px": found.apply, "plane-mm": found.apply_plane_mm, "patient-mm": found.apply_patient}[unit]
    for moved in apply_to(given, inverse=inverse).tolist():
        output().print(",".join(f"{number:.6f}" for number in moved), markup=False, soft_wrap=True)
    for line in (*(flag_lines(found.flags) if found.flags else ()), NOT_FOR_DIAGNOSIS):
        typer.echo(line, err=True)


def _points(given: list[str], file: Path | None) -> Float:
    lines = [*given, *(file.read_text(encoding="utf-8").splitlines() if file else [])]
    try:
        rows = [[float(number) for number in line.split(",")] for line in lines if line.strip()]
    except ValueError as error:
        raise typer.BadParameter("points are X,Y or X,Y,Z: numbers without spaces", param_hint="--point") from error
    if not rows or len({len(row) for row in rows}) > 1 or not np.isfinite(rows).all():
        raise typer.BadParameter(
            "give points, X,Y or X,Y,Z, all with as many finite numbers", param_hint=["--point", "--points"]
        )
    return np.array(rows, np.float64)


def _description(written: Transform) -> str:
    size = " x ".join(map(str, written.fixed_grid.size))
    field = written.displacement_field
    if field is None:
        return f"affine, {size} fixed pixels to moving pixels"
    largest = np.linalg.norm(field.values, axis=0).max()
    return f"deformable, {size} fixed pixels to moving pixels, displacements up to {largest:.3g} fixed px"


def _residual(written: Transform, found: Transform) -> str:
    """How far the inverse is from the truth, where both images have pixels."""
    distances = written.round_trip_px(found)
    within = distances[np.isfinite(distances)]
    if not within.size:
        raise InvalidField("the images do not meet: there is nothing to invert", field="transform")
    return f"inverse: pixels come back to within {within.mean():.3g} px on average, {within.max():.3g} px at most"
