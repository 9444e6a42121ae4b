"""`hilum segment`: outline targets in one image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from hilum.cli.candidates import every_candidate
from hilum.cli.console import output
from hilum.cli.everything import (
    SEARCH_DEFAULTS,
    EverythingOption,
    MinMaskRegionAreaOption,
    PointsPerSideOption,
    PredIouThreshOption,
    StabilityScoreThreshOption,
    check_combination,
    checked_everything_files,
    segment_everything,
)
from hilum.cli.inputs import read_input
from hilum.cli.measurements import measurements
from hilum.cli.modality import ModalityOption, with_modality
from hilum.cli.options import (
    FrameOption,
    GroupOption,
    IndexOption,
    ModelOption,
    PercentileOption,
    PlaneOption,
    PresetOption,
    WindowOption,
    box_option,
    point_option,
)
from hilum.cli.result_files import Result, checked_result_files, write_all
from hilum.cli.session import Session
from hilum.cli.values import chosen_mapping
from hilum.types import Box, Point, Prompt

ImageArgument: TypeAlias = Annotated[
    Path, typer.Argument(exists=True, help="DICOM, NIfTI, PNG, JPEG, TIFF or BMP; or a DICOM series.")
]
BoxOption: TypeAlias = Annotated[list[Box] | None, box_option("Around a target, in pixels. Repeatable.")]
ClickOption: TypeAlias = Annotated[
    list[Point] | None, point_option("--click", "On the target. Repeatable; all are of one target.")
]
NotOnOption: TypeAlias = Annotated[list[Point] | None, point_option("--not", "Outside that target. Repeatable.")]
WholeImageOption: TypeAlias = Annotated[
    bool, typer.Option("--whole-image", help="Encode all of it, for small targets, too; look once at clicks.")
]
BrightOption: TypeAlias = Annotated[
    bool, typer.Option("--bright", help="Clicks are on small bright targets, or beside them: stones, markers.")
]
RefineOption: TypeAlias = Annotated[
    bool, typer.Option("--refine", help="Fit masks of bright targets to the intensities around them.")
]
LabelOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(metavar="TEXT", help="What a target is called in files; one per target, in order.")
]
OutOption: TypeAlias = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="x.png, x.nii.gz, x.seg.dcm or x.json. Repeatable.")
]
CandidatesOption: TypeAlias = Annotated[
    bool, typer.Option("--candidates", help="Show and write three masks per target, not the first choice alone.")
]


def segment(
    context: typer.Context,
    image: ImageArgument,
    *,
    box: BoxOption = None,
    click: ClickOption = None,
    not_on: NotOnOption = None,
    frame: FrameOption = None,
    plane: PlaneOption = None,
    index: IndexOption = None,
    window: WindowOption = None,
    preset: PresetOption = None,
    percentile: PercentileOption = None,
    model: ModelOption = "",
    group: GroupOption = "",
    modality: ModalityOption = "",
    whole_image: WholeImageOption = False,
    bright: BrightOption = False,
    refine: RefineOption = False,
    candidates: CandidatesOption = False,
    label: LabelOption = None,
    everything: EverythingOption = False,
    points_per_side: PointsPerSideOption = SEARCH_DEFAULTS.points_per_side,
    pred_iou_thresh: PredIouThreshOption = SEARCH_DEFAULTS.pred_iou_thresh,
    stability_score_thresh: StabilityScoreThreshOption = SEARCH_DEFAULTS.stability_score_thresh,
    min_mask_region_area: MinMaskRegionAreaOption = SEARCH_DEFAULTS.min_mask_region_area,
    out: OutOption = None,
) -> None:
    """Outline targets in an image, and measure them.

    Each --box is a target of its own. Clicks are on one more target; with exactly one box they refine that box.
    --everything takes neither: it prompts a grid of points, and keeps what the model is sure of.
    Coordinates are pixels of the full image, x to the right, y down, the centre of the first pixel at 0,0.
    """
    check_combination(context, everything=everything)
    mapping = chosen_mapping(window, preset, percentile)
    prompts = [] if everything else prompts_of(box or [], click or [], not_on or [])
    labels = checked_labels(label or [], len(prompts))
    files = checked_everything_files(out or []) if everything else checked_result_files(out or [], image)
    picture = with_modality(
        read_input(image, frame=frame, plane=plane, index=index, group=group), modality, "--modality"
    )
    if everything:
        segment_everything(context, picture, mapping=mapping, model=model, files=files)
        return
    with Session.of(context).client() as client:
        started = time.perf_counter()
        prediction = client.predict(
            picture,
            prompts,
            mapping=mapping,
            model=model,
            region=None if whole_image else "auto",
            # Of a click the model's first choice, of a box its single mask.
            multimask_output=True if candidates else None,
            bright_target=bright,
            refine_bright=refine,
        )
        elapsed_ms = (time.perf_counter() - started) * 1000
    output().print(measurements(picture, prompts, prediction, elapsed_ms))
    if candidates:
        prediction, prompts, labels = every_candidate(prediction, prompts, labels)
    write_all(Result(image, picture, prompts, labels, mapping, prediction).write, files)


def prompts_of(boxes: Sequence[Box], clicks: Sequence[Point], not_on: Sequence[Point]) -> list[Prompt]:
    """Returns one prompt per box and one for the clicks, or a single one where there is exactly one box."""
    labelled = (*clicks, *(Point(point.x, point.y, foreground=False) for point in not_on))
    if len(boxes) == 1:
        return [Prompt(points=labelled, box=boxes[0])]
    if labelled and not clicks:
        raise typer.BadParameter("needs a --click, or exactly one --box", param_hint="--not")
    if not boxes and not labelled:
        raise typer.BadParameter("give at least one", param_hint=["--click", "--box"])
    return [*(Prompt(box=box) for box in boxes), *([Prompt(points=labelled)] if labelled else [])]


def checked_labels(labels: Sequence[str], prompts: int) -> Sequence[str]:
    """Returns the labels; a usage error where there are some, but not one per prompt."""
    if labels and len(labels) != prompts:
        raise typer.BadParameter(f"{len(labels)} given for {prompts} targets", param_hint="--label")
    return labels
