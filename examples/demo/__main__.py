"""The demo: `make demo`, or `python -m examples.demo`.

A real CT and a simulated X-ray of the same body under a known motion. Starts the services on free loopback ports,
segments liver and lungs in the CT and the lungs in the X-ray from a few clicks each and from jittered boxes, registers
the CT's projection to the X-ray, lets a coronal slab inherit the transform, and fuses. Then the body takes another
breath: it bends below one lung, and a deformable registration follows. Prints what came out against the truth, and
writes pictures to build/demo.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from examples.demo.accuracy import BOX_SEEDS, IMAGE_WIDTH, LUNGS, dice
from examples.demo.alignment import coronal_projection, on_grid, register, registration_error
from examples.demo.breath import Breath
from examples.demo.ct_volume import LEFT_LUNG, RIGHT_LUNG, CtVolume, Label, load_ct_volume
from examples.demo.followed_breath import FollowedBreath
from examples.demo.known_motion import KnownMotion, apply
from examples.demo.pictures import Outline, Panel, checkerboard, panel, write
from examples.demo.running_services import RunningServices
from examples.demo.simulated_xray import material_paths, simulate_xray
from examples.demo.truth import (
    LungProjection,
    Mask,
    jittered_box,
    middle_click,
    projected_body,
    slice_of_largest_area,
    slice_truth,
)
from examples.demo.working_grid import WorkingGrid
from hilum import (
    CT_LUNG,
    CT_SOFT_TISSUE,
    Client,
    Image,
    Point,
    ProjectionAxis,
    ProjectionMethod,
    Prompt,
    Transform,
)
from hilum.types import Fusion, Registration
from modeling.simulated_prompts import correcting_click

SLAB_MM = 20.0
# The scene's images, and how the names of their targets begin.
CT_LIVER, CT_LUNGS, XRAY = "CT liver", "CT", "simulated X-ray"
PICTURES = Path("build/demo")
# A user is content with an outline as good as this, and clicks no more often than that.
SATISFYING_DICE, CLICKS = 0.93, 6


@dataclass
class Steps:
    """Seconds per step, in order, where embeddings were found, and which images the encoder knew when asked again."""

    seconds: dict[str, float] = field(default_factory=dict)
    origins: list[str] = field(default_factory=list)
    encoder_hits: list[bool] = field(default_factory=list)

    @contextmanager
    def step(self, console: Console, name: str) -> Iterator[None]:
        """Shows that a step runs, and notes how long it took."""
        begin = time.perf_counter()
        with console.status(f"{name} ..."):
            yield
        self.seconds[name] = time.perf_counter() - begin

    @contextmanager
    def starting(self, console: Console, services: RunningServices) -> Iterator[RunningServices]:
        """Starts the services as a step of its own, and stops them at the end of the block."""
        with ExitStack() as stack:
            with self.step(console, "start the services"):
                stack.enter_context(services)
            yield services


@dataclass(frozen=True)
class Scene:
    """The demo's images on one working grid, and the truth about them."""

    seed: int
    volume: CtVolume
    grid: WorkingGrid
    motion: KnownMotion
    liver: Image
    lungs: Image
    xray: Image
    truth: dict[str, Mask]
    liver_depth: int
    breath: Breath

    @property
    def images(self) -> dict[str, Image]:
        """What is segmented, by kind."""
        return {CT_LIVER: self.liver, CT_LUNGS: self.lungs, XRAY: self.xray}

    @classmethod
    def build(cls, seed: int) -> Scene:
        """Loads the CT and simulates the X-ray of this seed's motion and noise."""
        volume = load_ct_volume()
        grid = WorkingGrid.over(volume, IMAGE_WIDTH)
        motion = KnownMotion.from_seed(seed)
        liver_depth = slice_of_largest_area(volume, (Label.LIVER,))
        lung_depth = slice_of_largest_area(volume, RIGHT_LUNG + LEFT_LUNG)
        truth = {"CT liver": slice_truth(volume, grid, liver_depth, (Label.LIVER,))}
        for name, labels in LUNGS.items():
            truth[f"CT {name}"] = slice_truth(volume, grid, lung_depth, labels)
            field_of_lung = LungProjection.of(volume, labels).field(grid, motion.moving_to_fixed(grid))
            truth[f"simulated X-ray {name}"] = field_of_lung
        paths = material_paths(volume)
        return cls(
            seed,
            volume,
            grid,
            motion,
            grid.slice_image(volume, liver_depth, CT_SOFT_TISSUE),
            grid.slice_image(volume, lung_depth, CT_LUNG),
            simulate_xray(volume, paths, grid, motion, seed).image,
            truth,
            liver_depth,
            Breath.taken(volume, paths, grid, seed),
        )


def one_click(truth: Mask) -> list[Prompt]:
    """A click in the middle of a target."""
    return [Prompt((middle_click(truth),))]


def jittered_boxes(truth: Mask) -> list[Prompt]:
    """Ten boxes around a target, as hasty users draw them."""
    return [Prompt(box=jittered_box(truth, seed)) for seed in BOX_SEEDS]


def segment(
    client: Client, scene: Scene, kind: str, steps: Steps, prompts_for: Callable[[Mask], list[Prompt]]
) -> list[Outline]:
    """Segments every target of one of the scene's images.

    All prompts of one image go in one call. Returns the targets in order, each with its prompts in order.
    """
    targets = {
        name: truth
        for name, truth in scene.truth.items()
        if name == kind or (name.startswith(kind) and name.endswith("lung"))
    }
    prompts = [(name, prompt) for name, truth in targets.items() for prompt in prompts_for(truth)]
    prediction = client.predict(scene.images[kind], [prompt for _, prompt in prompts])
    steps.origins.extend(prediction.embedding_origins)
    return [
        Outline(name, prompt, masks[0].mask, masks[0].model_score)
        for (name, prompt), masks in zip(prompts, prediction.masks, strict=True)
    ]


def correct(client: Client, scene: Scene, steps: Steps, first: dict[str, list[Outline]]) -> dict[str, list[Outline]]:
    """Corrects outlines as a user does: where most is wrong, one more click, until it is right or CLICKS are spent.

    Of the outlines that the clicks of one target gave, the best is kept.
    """
    return {
        kind: [_corrected(client, scene, kind, steps, outline) for outline in outlines]
        for kind, outlines in first.items()
    }


def _corrected(client: Client, scene: Scene, kind: str, steps: Steps, outline: Outline) -> Outline:
    truth, best, last = scene.truth[outline.name], outline, outline
    while dice(last.mask, truth) < SATISFYING_DICE and len(last.prompt.points) < CLICKS:
        click = correcting_click(last.mask, truth)
        if click is None:
            break
        prompt = Prompt((*last.prompt.points, Point(*click)))
        prediction = client.predict(scene.images[kind], [prompt], region=None)
        steps.origins.extend(prediction.embedding_origins)
        found = prediction.masks[0][0]
        last = Outline(outline.name, prompt, found.mask, found.model_score)
        best = max(best, last, key=lambda candidate: dice(candidate.mask, truth))
    return best


def segment_all(
    client: Client, scene: Scene, steps: Steps, prompts_for: Callable[[Mask], list[Prompt]]
) -> dict[str, list[Outline]]:
    """Segments liver, lungs, and the X-ray's lungs; per image its outlines."""
    return {kind: segment(client, scene, kind, steps, prompts_for) for kind in scene.images}


def slab_image(client: Client, scene: Scene) -> Image:
    """Asks the fusion service for a coronal slab around the liver slice, and brings it onto the working grid."""
    volume = scene.volume.as_volume()
    first = int(np.flatnonzero((scene.volume.labels > 0).any(axis=(1, 2)))[0])
    half = round(SLAB_MM / 2 / scene.volume.spacing_mm[0])
    middle = scene.liver_depth - first
    slab = client.project(
        volume,
        axis=ProjectionAxis.DEPTH,
        method=ProjectionMethod.MEAN,
        slab=(max(0, middle - half), min(len(volume.voxels), middle + half)),
    )
    pixels = scene.grid.resample(slab.pixels, outside=-1024).astype(np.float32)
    return Image(pixels, scene.liver.geometry, window=CT_SOFT_TISSUE, source=slab.source)


def print_results(console: Console, rows: list[tuple[str, str, str]], steps: Steps) -> None:
    """Prints what came out, and how long each step took."""
    results = Table(title="Against the truth (simulated X-ray; not for diagnosis)")
    for name in ("what", "measured", "asked for"):
        results.add_column(name, justify="left" if name == "what" else "right")
    for row in rows:
        results.add_row(*row)
    console.print(results)
    times = Table(title="Seconds per step")
    times.add_column("step")
    times.add_column("s", justify="right")
    for name, seconds in steps.seconds.items():
        times.add_row(name, f"{seconds:.2f}")
    console.print(times)
    console.print(
        f"The decoder found embeddings in: {', '.join(steps.origins)}. "
        f"Asked for again by digest, {sum(steps.encoder_hits)} of {len(steps.encoder_hits)} images are cache hits."
    )


@dataclass(frozen=True)
class Fusions:
    """Projection and X-ray as they lay and as they were registered, and the slab that inherited the transform."""

    before: Fusion
    after: Fusion
    slab: Fusion

    @classmethod
    def of(cls, client: Client, scene: Scene, projection: Image, inherited: Transform) -> Fusions:
        """Asks the fusion service for all three."""
        unmoved = Transform.from_matrix(np.eye(3), inherited.fixed_size, inherited.moving_size)
        flat = Image(scene.grid.resample(projection.pixels).astype(np.float32), scene.liver.geometry)
        flags = inherited.flags
        return cls(
            client.fuse(flat, scene.xray, unmoved),
            client.fuse(flat, scene.xray, inherited, accepted_flags=flags),
            client.fuse(slab_image(client, scene), scene.xray, inherited, accepted_flags=flags),
        )


def click_rows(scene: Scene, found: list[Outline]) -> list[tuple[str, str, str]]:
    """Returns a row per target: Dice of the clicks' outline, and the model's score of it."""
    rows = []
    for outline in found:
        fit, clicks = dice(outline.mask, scene.truth[outline.name]), len(outline.prompt.points)
        words = f"{outline.name}, {clicks} click{'s' if clicks > 1 else ''}"
        rows.append((words, f"Dice {fit:.3f}, model score {outline.model_score:.2f}", ""))
    return rows


def box_rows(scene: Scene, found: list[Outline]) -> list[tuple[str, str, str]]:
    """Returns a row per target: mean and least Dice over its boxes, and what is asked of the mean."""
    asked = {CT_LIVER: ">= .93", CT_LUNGS: ">= .92", XRAY: ">= .85"}
    rows = []
    for name in dict.fromkeys(outline.name for outline in found):
        values = [dice(outline.mask, scene.truth[name]) for outline in found if outline.name == name]
        measured = f"Dice {np.mean(values):.3f}, least {min(values):.3f} of {len(values)} boxes"
        rows.append((name, measured, next(f"mean {text}" for start, text in asked.items() if name.startswith(start))))
    return rows


def registration_rows(scene: Scene, registration: Registration, inherited: Transform) -> list[tuple[str, str, str]]:
    """Returns the target registration error over the body before and after, Match_Loss, and the transform's flags."""
    body = projected_body(scene.volume, scene.grid)
    unmoved = Transform.from_matrix(np.eye(3), inherited.fixed_size, inherited.moving_size)
    back = partial(apply, scene.motion.moving_to_fixed(scene.grid))
    before = registration_error(unmoved, scene.grid, back, body)
    after = registration_error(inherited, scene.grid, back, body)
    loss = f"{registration.match_loss_before:.3f} -> {registration.match_loss_after:.3f}"
    return [
        ("registration error before", f"{before.mean_mm:.1f} mm, {before.mean_px:.1f} px of 256", ""),
        ("registration error after", f"{after.mean_mm:.2f} mm, {after.mean_px:.2f} px of 256", "mean <= 1.7 px"),
        ("largest over the body", f"{after.max_px:.2f} px of 256", "<= 4 px"),
        ("Match_Loss", loss, ""),
        ("flags", ", ".join(inherited.flags) or "none", ""),
    ]


def write_pictures(
    folder: Path, scene: Scene, found: dict[str, list[Outline]], fusions: Fusions, followed: FollowedBreath
) -> None:
    """Writes inputs.png, registration.png, breath.png, fused.png, and demo.png with the essential of all."""
    inputs = [
        panel("CT, liver (soft-tissue window)", scene.liver, found[CT_LIVER]),
        panel("CT, lungs (lung window)", scene.lungs, found[CT_LUNGS]),
        panel("simulated X-ray, lungs", scene.xray, found[XRAY]),
    ]
    before, after = fusions.before, fusions.after
    unregistered = Panel("CT projection and simulated X-ray, before", checkerboard(before.fixed, before.moving))
    registered = Panel("after registration", checkerboard(after.fixed, after.moving))
    fused = Panel("fused: CT slab and simulated X-ray", fusions.slab.fused)
    write(folder / "inputs.png", inputs, 3)
    write(folder / "registration.png", [unregistered, registered], 2)
    write(folder / "fused.png", [fused], 1)
    breath = followed.panels()
    write(folder / "breath.png", breath, 3)
    write(folder / "demo.png", [*inputs, unregistered, registered, fused, *breath], 3)


def run(seed: int, folder: Path, console: Console) -> None:
    """Runs the demo and writes its pictures."""
    steps = Steps()
    folder.mkdir(parents=True, exist_ok=True)
    with steps.step(console, "load the CT, simulate the X-ray"):
        scene = Scene.build(seed)
    with (
        steps.starting(console, RunningServices(folder / "services.log")) as services,
        Client(services.endpoints) as client,
    ):
        with steps.step(console, "segment: a click per organ, images encoded"):
            first = segment_all(client, scene, steps, one_click)
        with steps.step(console, f"correct: up to {CLICKS} clicks per organ, images known"):
            found = correct(client, scene, steps, first)
        with steps.step(console, f"segment: {len(BOX_SEEDS)} boxes per organ, images known"):
            boxes = segment_all(client, scene, steps, jittered_boxes)
        steps.encoder_hits = [client.encode(image).cache_hit for image in scene.images.values()]
        with steps.step(console, "project the CT"):
            projection = coronal_projection(client, scene.volume)
        with steps.step(console, "register the projection to the X-ray"):
            registration = register(client, projection, scene.xray)
        inherited = on_grid(registration.transform, scene.grid, scene.volume, scene.liver_depth)
        with steps.step(console, "project a slab, fuse"):
            fusions = Fusions.of(client, scene, projection, inherited)
        with steps.step(console, "another breath: register twice, fuse twice"):
            followed = FollowedBreath.by(client, scene.breath, scene.volume, scene.liver_depth, projection)
    rows = [row for clicked in (first, found) for outlines in clicked.values() for row in click_rows(scene, outlines)]
    rows = list(dict.fromkeys(rows))
    rows += [row for outlines in boxes.values() for row in box_rows(scene, outlines)]
    rows += registration_rows(scene, registration, inherited) + followed.rows()
    print_results(console, rows, steps)
    write_pictures(folder, scene, found, fusions, followed)
    console.print(f"Pictures in {folder}: inputs.png, registration.png, breath.png, fused.png, demo.png")


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of motion, noise and the pictured boxes' jitter")
    parser.add_argument("--out", type=Path, default=PICTURES, help="folder for the pictures")
    options = parser.parse_args()
    run(options.seed, options.out, Console())


if __name__ == "__main__":
    main()
