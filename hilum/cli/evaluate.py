"""`hilum evaluate`: how well a transform fits what is known in both images."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hilum.cli.console import NOT_FOR_DIAGNOSIS, output
from hilum.cli.options import checked_outputs
from hilum.cli.registration_options import LandmarkOption
from hilum.cli.registration_report import flag_lines
from hilum.cli.session import Session
from hilum.cli.values import parse_landmark
from hilum.evaluation import RegistrationEvaluation
from hilum.images import read_image
from hilum.registration_options import LandmarkPair
from hilum.transform_file import read_transform
from hilum.types import BoolMask

_TARGETS = ["--target-fixed", "--target-moving"]


def evaluate(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A transform in a .json file.")],
    *,
    landmark: LandmarkOption = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Landmarks, X,Y,X,Y on each line."),
    ] = None,
    target_fixed: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", exists=True, help="A mask of a target, above 0 inside, fixed image. Repeatable."),
    ] = None,
    target_moving: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", exists=True, help="The same target's in the moving image; pairs, in order."),
    ] = None,
    out: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="evaluation.json. Repeatable.")] = None,
) -> None:
    """Say how well a transform between two images fits landmarks and targets that are known in both.

    Take landmarks and masks that did not steer the registration: those that did fit in any case.
    """
    outputs = checked_outputs(out or [], (".json",))
    known = [*(landmark or []), *(_landmarks(landmarks) if landmarks else [])]
    pairs = target_fixed or [], target_moving or []
    if len(pairs[0]) != len(pairs[1]):
        raise typer.BadParameter("give each target in both images", param_hint=_TARGETS)
    masks = [(_mask(fixed), _mask(moving)) for fixed, moving in zip(*pairs, strict=True)]
    if not known and not masks:
        raise typer.BadParameter("give landmarks or targets", param_hint=["--landmark", *_TARGETS])
    with Session.of(context).client() as client:
        found = client.evaluate_registration(read_transform(source), targets=masks, landmarks=known)
    for path in outputs:
        path.write_text(evaluation_json(found), encoding="utf-8")
    output().print(evaluation_report(found))


def evaluation_report(found: RegistrationEvaluation) -> Group:
    """Returns a table of targets, if there are any, and the lines below it."""
    targets = Table(
        "target", "Dice", f"centroid, {found.unit}", f"outline, {found.unit}", "at most", box=None, pad_edge=False
    )
    for number, it in enumerate(found.targets, 1):
        lengths = (it.centroid_error, it.mean_surface_distance, it.max_surface_distance)
        targets.add_row(str(number), f"{it.dice:.3f}", *(f"{length:.2f}" for length in lengths))
    errors = found.landmarks
    lines = [
        *(
            []
            if errors is None
            else [
                f"{len(errors.errors)} landmarks: mean error {errors.mean:.2f} {found.unit}, 95th percentile "
                f"{errors.p95:.2f}, largest {errors.max:.2f}"
            ]
        ),
        f"folds {found.folding_fraction:.2%}; {_way_back(found)}",
        *flag_lines(found.flags),
        NOT_FOR_DIAGNOSIS,
    ]
    return Group(*([targets] if found.targets else []), Text("\n".join(lines)))


def evaluation_json(found: RegistrationEvaluation) -> str:
    """Returns all figures as JSON, the landmarks' errors in their order."""
    plain = dataclasses.asdict(found)
    if found.landmarks is not None:
        plain["landmarks"] |= {name: getattr(found.landmarks, name) for name in ("mean", "p95", "max")}
    return json.dumps(plain, indent=1) + "\n"


def _way_back(found: RegistrationEvaluation) -> str:
    if found.inverse_residual is None:
        return "there is no way back"
    return f"there and back misses by at most {found.inverse_residual:.3g} {found.unit}"


def _landmarks(file: Path) -> list[LandmarkPair]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [parse_landmark(line) for line in lines if line.strip()]


def _mask(path: Path) -> BoolMask:
    pixels = read_image(path).pixels
    if pixels.ndim != 2:
        raise typer.BadParameter(f"{path.name} has colours: a mask has one value per pixel", param_hint=_TARGETS)
    mask: BoolMask = pixels > 0
    return mask
