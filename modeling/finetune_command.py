"""The command `finetune`: what was asked for, read and checked, with progress, and where the bundle lies."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hilum.errors import BundleError
from hilum.serving.bundle import bundles_folder, find_bundle
from modeling.catalogue import CATALOGUE
from modeling.datasets.opening import open_dataset
from modeling.finetune import CURVES_FILENAME, Job, run, write
from modeling.finetuning import StepReport
from modeling.recipe import Recipe
from modeling.training_set import Preparation


@dataclass(frozen=True)
class Request:
    """The command's arguments.

    Attributes:
        data: a collection, or a data set that `open_dataset` recognises.
        base: name of the installed bundle to begin with.
        name: of the new bundle.
        recipe: how to train.
        preparation: how to prepare.
        work: folder for what is kept between runs.
        threads: on CPU.
        device: "cpu" or "cuda".
    """

    data: Path
    base: str
    name: str
    recipe: Recipe
    preparation: Preparation
    work: Path
    threads: int
    device: str


def finetune(request: Request, console: Console) -> None:
    """Fine-tune and install the bundle.

    Raises:
        BundleError: the base is not installed, or the name is a known model's.
        FineTuningError: nothing to learn from, or the work folder belongs to another run.
        CollectionError: the data cannot be read.
    """
    if request.name in CATALOGUE:
        raise BundleError(f"{request.name} is the name of a known model; choose another for yours")
    base = find_bundle(request.base)
    samples = list(open_dataset(request.data, "auto"))
    job = Job(base, request.name, request.preparation, request.recipe, request.work, request.threads, request.device)
    with Progress(*_columns(), console=console) as progress:
        preparing = progress.add_task("embeddings and masks", total=None)
        training = progress.add_task("steps", total=request.recipe.steps + request.recipe.head_steps)

        def on_prepared(done: int, total: int) -> None:
            progress.update(preparing, completed=done, total=total)

        def on_step(report: StepReport) -> None:
            words = f"{report.kind}: loss {report.loss:.3f}, IoU {report.iou:.2f}"
            progress.update(training, completed=report.step + 1, description=words)

        tuned = run(job, samples, on_prepared, on_step)
    written = write(job, tuned, bundles_folder() / request.name)
    console.print(f"{request.name} is installed in {written.bundle.folder}", soft_wrap=True)
    console.print(f"curves: {request.work / CURVES_FILENAME}", soft_wrap=True)


def _columns() -> tuple[TextColumn, BarColumn, MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn]:
    words = TextColumn("{task.description}")
    return words, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
