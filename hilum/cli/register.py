"""`hilum register`: find the transform between two images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from hilum.blocking_client import Client
from hilum.cli.checkerboard import before_and_after
from hilum.cli.console import output, stage_progress
from hilum.cli.inputs import read_input
from hilum.cli.modality import ModalityOption, with_modality
from hilum.cli.options import (
    AcceptFlagOption,
    FixedArgument,
    FrameOption,
    GroupOption,
    IndexOption,
    MappingOption,
    ModelOption,
    MovingArgument,
    PlaneOption,
    box_option,
    checked_outputs,
)
from hilum.cli.picture import write_picture
from hilum.cli.register_volumes import VolumeOutputs, VolumePair, is_volume, refuse_for_volumes
from hilum.cli.registration_options import (
    InitialOption,
    LandmarkOption,
    MeasureOption,
    RigidRegionOption,
    StiffnessOption,
    TransformModelOption,
    parse_options,
)
from hilum.cli.registration_report import flag_lines, registration_report
from hilum.cli.session import Session
from hilum.cli.values import parse_mapping
from hilum.registration_options import RegistrationOptions
from hilum.transform import Transform
from hilum.transform_file import write_transform
from hilum.types import Box, Image, IntensityMapping, Prompt, TargetPair, ViewRelation

View: TypeAlias = Literal["comparable", "slab-and-projection"]
_ViewOption: TypeAlias = Annotated[
    View | None,
    typer.Option(
        help="Of images, required. comparable: slice and slice, or projection and projection. Else the alignment is "
        "coarse."
    ),
]
_ResampledOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Of volumes: x.nii.gz, the moving volume on the fixed volume's grid."),
]
_OutOption: TypeAlias = Annotated[
    list[Path],
    typer.Option(
        metavar="FILE",
        help="transform.json, for `hilum fuse`, or x.png, a checkerboard; of volumes also x.tfm (ITK) or x.nii.gz "
        "(displacements). Repeatable.",
    ),
]

_FORMATS = (".json", ".png")
_VIEWS: dict[View, ViewRelation] = {
    "comparable": ViewRelation.COMPARABLE,
    "slab-and-projection": ViewRelation.SLAB_AND_PROJECTION,
}


def register(
    context: typer.Context,
    fixed: FixedArgument,
    moving: MovingArgument,
    *,
    out: _OutOption,
    view: _ViewOption = None,
    resampled: _ResampledOption = None,
    accept_flag: AcceptFlagOption = None,
    target_box_fixed: Annotated[list[Box] | None, box_option("A target in the fixed image. Repeatable.")] = None,
    target_box_moving: Annotated[list[Box] | None, box_option("The same target in the moving image.")] = None,
    transform_model: TransformModelOption = "affine",
    measure: MeasureOption = "structure",
    initial: InitialOption = None,
    landmark: LandmarkOption = None,
    rigid_region: RigidRegionOption = None,
    stiffness: StiffnessOption = 1.0,
    fixed_frame: FrameOption = None,
    fixed_plane: PlaneOption = None,
    fixed_index: IndexOption = None,
    fixed_mapping: MappingOption = None,
    fixed_modality: ModalityOption = "",
    moving_frame: FrameOption = None,
    moving_plane: PlaneOption = None,
    moving_index: IndexOption = None,
    moving_mapping: MappingOption = None,
    moving_modality: ModalityOption = "",
    model: ModelOption = "",
    group: GroupOption = "",
) -> None:
    """Find the transform that takes points of FIXED to MOVING, without markers.

    Two folders with DICOM series, or NIfTI volumes, of which no slice is named, are registered as volumes.

    Targets seen in both images, given as boxes in pairs, and landmarks steer the way; their agreement is reported.
    """
    sliced = (fixed_frame, fixed_plane, fixed_index, moving_frame, moving_plane, moving_index)
    if all(option is None for option in sliced) and is_volume(fixed) and is_volume(moving):
        refuse_for_volumes(
            {
                "--view": view == "slab-and-projection",
                "--target-box-fixed": target_box_fixed,
                "--target-box-moving": target_box_moving,
                "--measure": measure != "structure",
                "--landmark": landmark,
                "--rigid-region": rigid_region,
                "--model": model,
                "--group": group,
            }
        )
        VolumeOutputs(out, resampled, accept_flag or [], (fixed_mapping, moving_mapping)).of_registration(
            Session.of(context),
            VolumePair.read(fixed, moving, (fixed_modality, moving_modality)),
            model=transform_model,
            initial=initial,
            stiffness=stiffness,
        )
        return
    if view is None:
        raise typer.BadParameter("is required for images", param_hint="--view")
    targets, outputs = target_pairs(target_box_fixed or [], target_box_moving or []), checked_outputs(out, _FORMATS)
    mappings = parse_mapping(fixed_mapping), parse_mapping(moving_mapping)
    fixed_image = read_input(fixed, frame=fixed_frame, plane=fixed_plane, index=fixed_index, group=group)
    moving_image = read_input(moving, frame=moving_frame, plane=moving_plane, index=moving_index, group=group)
    images = _named((fixed_image, moving_image), (fixed_modality, moving_modality))
    options = parse_options(
        (fixed_image.size, moving_image.size),
        model=transform_model,
        measure=measure,
        initial=initial,
        landmarks=landmark or [],
        rigid_region=rigid_region,
        stiffness=stiffness,
    )
    asked = _Asked(_VIEWS[view], targets, options, mappings, model)
    _register_images(Session.of(context), images, asked, outputs)


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is asked about two images."""

    view: ViewRelation
    targets: Sequence[TargetPair]
    options: RegistrationOptions
    mappings: tuple[IntensityMapping | None, IntensityMapping | None]
    model: str


def _register_images(session: Session, images: tuple[Image, Image], asked: _Asked, outputs: Sequence[Path]) -> None:
    with session.client() as client:
        with stage_progress("registering") as on_progress:
            registration = client.register(
                *images,
                view_relation=asked.view,
                targets=asked.targets,
                options=asked.options,
                fixed_mapping=asked.mappings[0],
                moving_mapping=asked.mappings[1],
                model=asked.model,
                on_progress=on_progress,
            )
        _write(outputs, client, images, registration.transform, asked.mappings)
    output().print(registration_report(registration))


def _named(images: tuple[Image, Image], modalities: tuple[str, str]) -> tuple[Image, Image]:
    (fixed, moving), (of_fixed, of_moving) = images, modalities
    return with_modality(fixed, of_fixed, "--fixed-modality"), with_modality(moving, of_moving, "--moving-modality")


def _write(
    paths: Sequence[Path],
    client: Client,
    images: tuple[Image, Image],
    transform: Transform,
    mappings: tuple[IntensityMapping | None, IntensityMapping | None],
) -> None:
    for path in paths:
        if path.suffix.lower() != ".png":
            write_transform(path, transform)
            continue
        boards = before_and_after(client, *images, transform, mappings)
        words = ["left: centres aligned; right: registered", *flag_lines(transform.flags)]
        write_picture(path, boards, words, images[0].geometry)


def target_pairs(in_fixed: Sequence[Box], in_moving: Sequence[Box]) -> list[TargetPair]:
    """Returns pairs in the order given; a usage error where one has no partner."""
    if len(in_fixed) != len(in_moving):
        raise typer.BadParameter(
            f"{len(in_fixed)} in the fixed image and {len(in_moving)} in the moving one: give pairs",
            param_hint=["--target-box-fixed", "--target-box-moving"],
        )
    return [TargetPair(Prompt(box=one), Prompt(box=other)) for one, other in zip(in_fixed, in_moving, strict=True)]
