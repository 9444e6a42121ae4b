"""`hilum fuse`: show two registered images as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.console import NOT_FOR_DIAGNOSIS, output
from hilum.cli.inputs import read_input
from hilum.cli.options import (
    FixedArgument,
    FrameOption,
    IndexOption,
    MappingOption,
    MovingArgument,
    PlaneOption,
    checked_outputs,
)
from hilum.cli.picture import write_picture
from hilum.cli.registration_report import FLAGS, flag_lines
from hilum.cli.session import Session
from hilum.cli.values import parse_mapping
from hilum.transform_file import read_transform


def fuse(
    context: typer.Context,
    fixed: FixedArgument,
    moving: MovingArgument,
    *,
    transform: Annotated[
        Path, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Written by `hilum register`.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="fused.png")],
    accept_flag: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A quality flag of the transform that you accept. Repeatable."),
    ] = None,
    levels: Annotated[int, typer.Option(min=1, max=6, help="Levels of the pyramid.")] = 3,
    fixed_frame: FrameOption = None,
    fixed_plane: PlaneOption = None,
    fixed_index: IndexOption = None,
    fixed_mapping: MappingOption = None,
    moving_frame: FrameOption = None,
    moving_plane: PlaneOption = None,
    moving_index: IndexOption = None,
    moving_mapping: MappingOption = None,
) -> None:
    """Fuse MOVING into FIXED, on FIXED's grid, through a transform of `hilum register`.

    A transform with quality flags is refused unless each is accepted by name; they are then drawn into the picture.
    """
    (path,) = checked_outputs([out], (".png",))
    accepted = accepted_flags(accept_flag or [])
    mappings = parse_mapping(fixed_mapping), parse_mapping(moving_mapping)
    found = read_transform(transform)
    fixed_image = read_input(fixed, frame=fixed_frame, plane=fixed_plane, index=fixed_index)
    moving_image = read_input(moving, frame=moving_frame, plane=moving_plane, index=moving_index)
    with Session.of(context).client() as client:
        fusion = client.fuse(
            fixed_image,
            moving_image,
            found,
            fixed_mapping=mappings[0],
            moving_mapping=mappings[1],
            accepted_flags=accepted,
            levels=levels,
        )
    write_picture(path, [fusion.fused], flag_lines(found.flags), fixed_image.geometry)
    covered = f"{fusion.coverage.mean():.0%} of the picture is covered by the moving image"
    output().print("\n".join([covered, *flag_lines(found.flags), NOT_FOR_DIAGNOSIS]), markup=False, soft_wrap=True)


def accepted_flags(names: list[str]) -> list[str]:
    """Returns the names; a usage error for one that is no flag."""
    for name in names:
        if name not in FLAGS:
            raise typer.BadParameter(f"{name} is none of {', '.join(FLAGS)}", param_hint="--accept-flag")
    return names
