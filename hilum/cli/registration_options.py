"""What a registration is asked for, as it is said on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
import typer

from hilum.cli.inputs import read_input
from hilum.cli.values import parse_landmark
from hilum.errors import InvalidArgument
from hilum.registration_options import LandmarkPair, RegistrationOptions, SimilarityMeasure, TransformModel
from hilum.transform import Size
from hilum.transform_file import read_transform

ModelName: TypeAlias = Literal["rigid", "similarity", "affine", "deformable"]
MeasureName: TypeAlias = Literal["structure", "mutual-information", "match-loss"]

TransformModelOption: TypeAlias = Annotated[
    ModelName, typer.Option(help="Which transforms are considered; deformable bends after an affine one.")
]
MeasureOption: TypeAlias = Annotated[
    MeasureName, typer.Option(help="What is climbed: structure serves images of different modalities.")
]
InitialOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", exists=True, dir_okay=False, help="An affine transform.json to begin from."),
]
LandmarkOption: TypeAlias = Annotated[
    list[LandmarkPair] | None,
    typer.Option(
        parser=parse_landmark, metavar="X,Y,X,Y", help="A point of FIXED and the same of MOVING, in pixels. Repeatable."
    ),
]
RigidRegionOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="PATH", exists=True, help="deformable: a mask of FIXED's size, not 0 where nothing may bend."),
]
StiffnessOption: TypeAlias = Annotated[
    float, typer.Option(help="deformable: how strongly bending is held back, 0.01 to 100.")
]
_FLAGS = {"initial_transform": "--initial", "rigid_region": "--rigid-region", "stiffness": "--stiffness"}


def parse_options(
    sizes: tuple[Size, Size],
    *,
    model: ModelName,
    measure: MeasureName,
    initial: Path | None,
    landmarks: Sequence[LandmarkPair],
    rigid_region: Path | None,
    stiffness: float,
) -> RegistrationOptions:
    """Returns the options of a registration of images of these (height, width), fixed and moving.

    Raises:
        typer.BadParameter: An option cannot be followed.
    """
    options = RegistrationOptions(
        TransformModel[model.upper()],
        SimilarityMeasure[measure.upper().replace("-", "_")],
        None if initial is None else read_transform(initial),
        tuple(landmarks),
        None if rigid_region is None else np.asarray(read_input(rigid_region).pixels != 0, np.bool_),
        stiffness,
    )
    try:
        options.check(*sizes)
    except InvalidArgument as error:
        raise typer.BadParameter(error.message, param_hint=_FLAGS.get(error.field, "--landmark")) from error
    return options
