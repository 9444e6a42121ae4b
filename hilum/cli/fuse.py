"""`hilum fuse`: show two registered images as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.console import NOT_FOR_DIAGNOSIS, output
from hilum.cli.fusion_style import (
    BaseRuleOption,
    GradientFidelityOption,
    LevelsOption,
    MatchThresholdOption,
    OpacityOption,
    StyleOption,
    TileOption,
    parse_style,
)
from hilum.cli.inputs import read_input
from hilum.cli.options import (
    AcceptFlagOption,
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
    accept_flag: AcceptFlagOption = None,
    style: StyleOption = "pyramid",
    levels: LevelsOption = None,
    base_rule: BaseRuleOption = None,
    match_threshold: MatchThresholdOption = None,
    gradient_fidelity: GradientFidelityOption = None,
    opacity: OpacityOption = None,
    tile: TileOption = None,
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
    write = write_flicker if style == "flicker" else write_picture
    write(path, list(fusion.fused) if style == "flicker" else [fusion.fused], lines, fixed_image.geometry)
    covered = f"{fusion.coverage.mean():.0%} of the picture is covered by the moving image"
    output().print("\n".join([covered, *lines, NOT_FOR_DIAGNOSIS]), markup=False, soft_wrap=True)


def accepted_flags(names: list[str]) -> list[str]:
    """Returns the names; a usage error for one that is no flag."""
    for name in names:
        if name not in FLAGS:
            raise typer.BadParameter(f"{name} is none of {', '.join(FLAGS)}", param_hint="--accept-flag")
    return names
