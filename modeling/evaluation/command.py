"""`python -m modeling evaluate`: what the command line says, turned into an evaluation and its report."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from hilum.blocking_client import Client
from hilum.errors import HilumError
from hilum.serving.bundle import Bundle, find_bundle
from modeling.evaluation.close_looks import CloseLooks
from modeling.evaluation.detections import read_detections
from modeling.evaluation.evaluate import Findings, evaluate, median_side
from modeling.evaluation.in_process import open_bundles
from modeling.evaluation.predictor import Predictor
from modeling.evaluation.protocols import GROUPS
from modeling.evaluation.report import Setting, add_figures, figures, figures_by_source, write_report
from modeling.evaluation.running_services import ServicesPredictor, endpoints
from modeling.sample import Sample, Split, read_collection, read_index

# Everything mode asks 256 clicks a target, and is asked for by name.
TERMINAL_WIDTH = 160
DEFAULT_GROUPS = tuple(name for name in GROUPS if name != "everything")


class EvaluationError(HilumError):
    """An evaluation that was asked for cannot be made."""


@dataclass(frozen=True)
class Request:
    """What to evaluate.

    Attributes:
        bundles: names of installed bundles, or folders that hold one.
        data: a collection's folder.
        split: its samples to evaluate on.
        sources: of the collection, to evaluate no others; all where empty.
        against: "ENCODER,DECODER" addresses of running services to evaluate beside the bundles; "" for none.
        regions: whether to evaluate each model with regions for small targets and clicks, too.
        bright: whether to evaluate each with regions once more, told that targets are small and bright.
        boxes: JSON file of a detector's boxes to be used as prompts; None for none.
        groups: of protocols; see `protocols.GROUPS`.
        limit: most images of each source; 0 for all.
        out: folder of the report.
        figures: JSON file that flat figures are added to.
    """

    bundles: Sequence[str]
    data: Path
    split: Split
    sources: Sequence[str]
    against: str
    regions: bool
    bright: bool
    boxes: Path | None
    groups: Sequence[str]
    limit: int
    out: Path
    figures: Path


def run(request: Request, console: Console) -> None:
    """Evaluate, print the tables and write the report.

    Raises:
        EvaluationError: nothing to evaluate, an unknown protocol or source.
        CollectionError: the collection is missing or unreadable.
        BundleError: a bundle is not installed.
    """
    unknown = sorted(set(request.groups) - set(GROUPS))
    if unknown:
        raise EvaluationError(f"no protocols {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    total = len(_chosen_names(request))
    if not total:
        raise EvaluationError(f"{request.data} has no samples with split {request.split!r}")
    detections = read_detections(request.boxes) if request.boxes else None
    side, side_from = _fixed_side(request)
    with ExitStack() as stack:
        predictors = _predictors(request, stack)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        progress = stack.enter_context(Progress(*columns, console=console))
        task = progress.add_task("images", total=total)

        def on_image(count: int) -> None:
            progress.update(task, completed=count)

        findings = evaluate(
            predictors, _samples(request), request.groups, side, detections=detections, on_image=on_image
        )
    setting = Setting(request.data.name, request.split, side, side_from)
    _finish(request, setting, findings, console)


def _finish(request: Request, setting: Setting, findings: Findings, console: Console) -> None:
    if not findings.outcomes:
        raise EvaluationError(f"{request.data} has no targets that any model could be evaluated on")
    wide = Console(width=TERMINAL_WIDTH) if console.width < TERMINAL_WIDTH else console
    for table in write_report(request.out, setting, findings):
        shown = RichTable(*table.header, title=table.title, caption=table.note)
        for row in table.rows:
            shown.add_row(*row)
        wide.print(shown)
    if not request.limit:
        # Figures of a part of the images would pass for those of all.
        found = figures_by_source(findings.outcomes) if request.sources else figures(findings.outcomes)
        add_figures(request.figures, found)
    console.print(f"report: {request.out / 'report.md'}", soft_wrap=True)


def _predictors(request: Request, stack: ExitStack) -> list[Predictor]:
    threads = len(os.sched_getaffinity(0))
    bundles = open_bundles([_bundle(name) for name in request.bundles], threads)
    predictors: list[Predictor] = [*bundles]
    if request.regions:
        predictors += [CloseLooks(bundle) for bundle in bundles]
    if request.bright:
        predictors += [CloseLooks(bundle, bright_target=True) for bundle in bundles]
    if request.against:
        client = stack.enter_context(Client(endpoints(request.against)))
        served = {model.name for model in client.models()}
        names = [bundle.name for bundle in bundles if bundle.name in served] or [""]
        looks = [(False, False)] + [(True, False)] * request.regions + [(True, True)] * request.bright
        predictors += [
            ServicesPredictor(client, name, regions=regions, bright_target=bright)
            for regions, bright in looks
            for name in names
        ]
    if not predictors:
        raise EvaluationError("name a bundle, or --against running services")
    return predictors


def _bundle(name: str) -> Bundle:
    folder = Path(name)
    return Bundle.load(folder) if len(folder.parts) > 1 else find_bundle(name)


def _chosen_names(request: Request) -> list[tuple[str, str]]:
    """(source, name) of the samples to evaluate, at most `limit` a source, spread evenly over it."""
    by_source: dict[str, list[tuple[str, str]]] = {}
    for entry in read_index(request.data):
        if entry.get("split", "test") == request.split and entry.get("targets"):
            by_source.setdefault(entry["source"], []).append((entry["source"], entry["name"]))
    unknown = sorted(set(request.sources) - set(by_source))
    if unknown:
        there = ", ".join(by_source) or "none"
        raise EvaluationError(f"no source {', '.join(unknown)} with split {request.split!r}; there are: {there}")
    names = []
    for entries in (by_source[name] for name in dict.fromkeys(request.sources or by_source)):
        step = len(entries) / request.limit if request.limit else 1.0
        count = min(request.limit or len(entries), len(entries))
        names += [entries[int(number * max(step, 1.0))] for number in range(count)]
    return names


def _samples(request: Request) -> Iterator[Sample]:
    wanted = set(_chosen_names(request))
    return (it for it in read_collection(request.data, [request.split]) if (it.source, it.name) in wanted)


def _fixed_side(request: Request) -> tuple[float, str]:
    """Side of the baseline's box, and where it comes from; 400 training images are enough for a median."""
    training = list(islice(read_collection(request.data, ["train"]), 400))
    if any(sample.targets for sample in training):
        return median_side(training), "training split"
    return median_side(_samples(request)), "evaluated split"
