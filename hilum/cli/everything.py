"""`hilum segment --everything`: outline all that a model finds in one image, without prompts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hilum.automatic import GenerationCallback
from hilum.cli.console import NOT_FOR_DIAGNOSIS, output, step_progress
from hilum.cli.measurements import PIXELS_ONLY, SIZE_HEADINGS, sizes
from hilum.cli.options import checked_outputs
from hilum.cli.result_files import write_all
from hilum.cli.session import Session
from hilum.generation import Generation, GenerationParameters, GenerationProgress
from hilum.results.generation import largest_first
from hilum.types import Image, IntensityMapping

_ENDINGS = (".png", ".nii", ".nii.gz", ".json")
SEARCH_DEFAULTS = GenerationParameters()
_SHOWN = 10
# Names of parameters: of `hilum segment`, and of those the ones that GenerationParameters has, too.
_OF_PROMPTS = ("box", "click", "not_on", "label", "whole_image", "bright", "refine", "candidates")
_OF_SEARCH = ("points_per_side", "pred_iou_thresh", "stability_score_thresh", "min_mask_region_area")

EverythingOption: TypeAlias = Annotated[
    bool, typer.Option("--everything", help="Outline all that is found, as segment-anything does; takes no prompts.")
]
PointsPerSideOption: TypeAlias = Annotated[
    int, typer.Option(min=1, max=128, metavar="N", help="With --everything: points along a side of the grid.")
]
PredIouThreshOption: TypeAlias = Annotated[
    float, typer.Option(min=0, max=1, metavar="SCORE", help="With --everything: keep masks of a higher model score.")
]
StabilityScoreThreshOption: TypeAlias = Annotated[
    float, typer.Option(min=0, max=1, metavar="SCORE", help="With --everything: keep masks at least that stable.")
]
MinMaskRegionAreaOption: TypeAlias = Annotated[
    int, typer.Option(min=0, metavar="PIXELS", help="With --everything: remove smaller holes and islands.")
]


def segment_everything(
    context: typer.Context, image: Image, *, mapping: IntensityMapping | None, model: str, files: Sequence[Path]
) -> None:
    """Searches an image with the parameters of the command line, shows what was found, and writes it.

    Args:
        context: Of `hilum segment`.
        image: The image.
        mapping: How values become grey levels.
        model: Name of the model; "" for the server's default.
        files: Where to.

    Raises:
        PromptNotSupported: The model was not trained on points.
        HilumError: What a service answered.
    """
    parameters = GenerationParameters(**{name: context.params[name] for name in _OF_SEARCH})
    with Session.of(context).client() as client:
        started = time.perf_counter()
        with _progress() as on_progress:
            generation = client.generate_masks(
                image, parameters=parameters, mapping=mapping, model=model, on_progress=on_progress
            )
        elapsed_s = time.perf_counter() - started
    found = Everything(image, mapping, generation, elapsed_s)
    found.show()
    write_all(found.write, files)


@dataclass(frozen=True)
class Everything:
    """All that was found in an image.

    Attributes:
        image: The image.
        mapping: The intensity mapping that was asked for; the image's own where None.
        generation: What was answered.
        elapsed_s: Time from the first request to the last answer.
    """

    image: Image
    mapping: IntensityMapping | None
    generation: Generation
    elapsed_s: float

    def show(self) -> None:
        """Prints how many masks there are, and the sizes of the largest."""
        masks = largest_first(self.image, self.generation)
        table = Table("mask", box=None, pad_edge=False)
        for heading in SIZE_HEADINGS:
            table.add_column(heading, justify="right")
        for number, found in enumerate(masks[:_SHOWN], 1):
            table.add_row(str(number), *sizes(found, self.image.geometry))
        count = f"{len(masks)} mask{'' if len(masks) == 1 else 's'} found"
        shown = f"; the {_SHOWN} largest are shown, --out x.json has all" if len(masks) > _SHOWN else ""
        model = f"model {self.generation.model}, decoder {self.generation.decoder_revision[:12]}"
        lines = [f"{count}{shown}", f"{model}; time in s: {self.elapsed_s:.1f}"]
        lines += [PIXELS_ONLY] if self.image.geometry.plane_spacing_mm is None else []
        lines.append(f"{NOT_FOR_DIAGNOSIS} Model scores of masks that nobody asked for are not calibrated.")
        output().print(Group(*([table] if masks else []), Text("\n".join(lines))))

    def write(self, path: Path) -> None:
        """Writes one file, of the kind that its name ends in.

        Raises:
            HilumError: This kind cannot hold the result; see hilum.results.
            OSError: The file cannot be written.
        """
        # Each kind brings libraries that take their time to load: only those that are needed.
        name = path.name.lower()
        if name.endswith(".png"):
            from hilum.results.generation_png import write_generation_png  # noqa: PLC0415  # as said above

            write_generation_png(path, self.image, self.generation, mapping=self.mapping)
        elif name.endswith(".json"):
            from hilum.results.generation import write_generation_report  # noqa: PLC0415  # as said above

            write_generation_report(path, self.image, self.generation)
        else:
            from hilum.results.nifti import write_generation_nifti  # noqa: PLC0415  # as said above

            write_generation_nifti(path, self.image, self.generation)


def check_combination(context: typer.Context, *, everything: bool) -> None:
    """Refuses options of prompts with --everything, and options of the search without it: a usage error."""
    refused = _OF_PROMPTS if everything else _OF_SEARCH
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in refused and _is_on_the_command_line(context, parameter.name)
    ]
    if given and everything:
        raise typer.BadParameter(
            f"finds all that is there, without prompts: leave {', '.join(given)} away", param_hint="--everything"
        )
    if given:
        raise typer.BadParameter("goes with --everything only", param_hint=given)


def checked_everything_files(paths: Sequence[Path]) -> list[Path]:
    """Returns the paths; a usage error for one that cannot be written, before anything is sent."""
    if any(path.name.lower().endswith(".dcm") for path in paths):
        raise typer.BadParameter(
            "a DICOM segmentation says of each segment what it is, which of these masks nobody has said: write .nii.gz",
            param_hint="--out",
        )
    return checked_outputs(paths, _ENDINGS)


def _is_on_the_command_line(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


@contextmanager
def _progress() -> Iterator[GenerationCallback]:
    """Shows a bar; yields what moves it."""
    with step_progress() as bar:
        task = bar.add_task("encoding", total=None)

        def show(step: GenerationProgress) -> None:
            bar.update(task, description="points", total=step.points_total, completed=step.points_done)

        yield show
