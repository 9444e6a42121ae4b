"""`hilum fuse`: show two registered images as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.console import NOT_FOR_DIAGNOSIS, output
from hilum.cli.fusion_style import BaseRuleName, StyleName, parse_style
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
from hilum.cli.picture import write_flicker, write_picture
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
    out: Annotated[Path, typer.Option(metavar="FILE", help="fused.png; fused.gif for flicker.")],
    accept_flag: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A quality flag of the transform that you accept. Repeatable."),
    ] = None,
    style: Annotated[StyleName, typer.Option(help="How both are shown.")] = "pyramid",
    levels: Annotated[int | None, typer.Option(help="pyramid: levels, 1 to 6; 3 if not given.")] = None,
    base_rule: Annotated[
        BaseRuleName | None,
        typer.Option(help="pyramid: how what is left of details is combined; local-energy if not given."),
    ] = None,
    match_threshold: Annotated[
        float | None, typer.Option(help="pyramid: match from which details are mixed, -1 to 1; 0 if not given.")
    ] = None,
    gradient_fidelity: Annotated[
        float | None, typer.Option(help="pyramid: rebuild the picture from both images' gradients, such as 1.")
    ] = None,
    opacity: Annotated[
        float | None, typer.Option(help="overlay, blend: of the moving image, 0 to 1; 0.5 if not given.")
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(metavar="PX", help="checkerboard: side of a tile; an eighth of the picture if not given."),
    ] = None,
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
    shown = parse_style(
        style,
        base_rule=base_rule,
        levels=levels,
        match_threshold=match_threshold,
        gradient_fidelity=gradient_fidelity,
        opacity=opacity,
        tile_px=tile,
    )
    (path,) = checked_outputs([out], (".gif",) if style == "flicker" else (".png",))
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
            style=shown,
        )
    lines = flag_lines(found.flags)
    if style == "flicker":
        write_flicker(path, list(fusion.fused), lines, fixed_image.geometry)
    else:
        write_picture(path, [fusion.fused], lines, fixed_image.geometry)
    covered = f"{fusion.coverage.mean():.0%} of the picture is covered by the moving image"
    output().print("\n".join([covered, *lines, NOT_FOR_DIAGNOSIS]), markup=False, soft_wrap=True)


def accepted_flags(names: list[str]) -> list[str]:
    """Returns the names; a usage error for one that is no flag."""
    for name in names:
        if name not in FLAGS:
            raise typer.BadParameter(f"{name} is none of {', '.join(FLAGS)}", param_hint="--accept-flag")
    return names
