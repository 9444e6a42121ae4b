"""examples.click.generalisation: on a task small enough to be learnt in a test, from training images to the report."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from torch import nn

from examples.click.generalisation import Study, ask, learn, run, shortened
from examples.click.groups import NOTHING, REDRAWN, Group
from hilum.serving.bundle import Bundle
from modeling.bundle_writer import write_bundle
from modeling.catalogue import ALL_PROMPTS, MIN_MAX, ModelSpec
from modeling.finetuning import LOG_FILENAME
from modeling.recipe import Recipe
from modeling.sample import Sample, mask_target, write_collection
from modeling.training_set import Preparation, TrainingSet
from tests.unit.modeling.tiny_task import SIDE, tiny_sam, write_discs

DISCS = 12
# Half of the discs call themselves MR.
MR = Group("mr", modality="MR", related=("discs",))
RECIPE = Recipe(steps=6, head_steps=2, prompts=2, checkpoint_every=4, most_clicks=3)


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return tiny_sam()


def _samples(discs: TrainingSet) -> list[Sample]:
    """The training images as a collection's samples, and two of them again as test images of two patients."""
    samples = []
    for number in range(len(discs)):
        image = discs[number]
        targets = tuple(mask_target("disc", mask) for mask in image.masks)
        modality = "MR" if number % 2 else "CT"
        samples.append(Sample(f"disc-{number}", image.image, targets, "discs", modality, str(number), "train"))
        if number < 2:
            samples.append(Sample(f"test-{number}", image.image, targets, "discs", modality, str(number), "test"))
    return samples


@pytest.fixture(scope="module")
def study(base: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A collection of discs, prepared, and a base to begin with."""
    folder = tmp_path_factory.mktemp("study")
    discs = write_discs(base, folder / "images", DISCS)
    write_collection(folder / "collection", _samples(discs))
    for number, path in enumerate(discs.paths):
        path.rename(path.with_name(f"disc-{number}-v0.npz"))
    spec = ModelSpec("tiny", "tiny", SIDE, MIN_MAX, ALL_PROMPTS, "Apache-2.0", "random weights, for tests")
    bundle = write_bundle(base, spec, folder / "tiny").bundle
    return Study(
        bundle, folder / "collection", Preparation(), folder / "images", [REDRAWN, MR], RECIPE, folder / "work", 1
    )


@pytest.fixture(scope="module")
def before(study: Study) -> dict[str, bytes]:
    """The prepared images as they were."""
    return {path.name: path.read_bytes() for path in study.images.iterdir()}


@pytest.fixture(scope="module")
def folder(study: Study, base: nn.Module, before: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the study, once it has been run; `before` comes before."""
    folder = tmp_path_factory.mktemp("report")
    run(study, base, folder, Console(quiet=True))
    return folder


def test_models_learn_without_a_group_and_are_compared(folder: Path) -> None:
    """Three models and their base answer the test images; the report says what was left out and how much remained."""
    content = json.loads((folder / "generalisation.json").read_text())
    assert content["setting"]["training images"] == {NOTHING.model: DISCS, REDRAWN.model: DISCS, MR.model: DISCS // 2}
    assert content["setting"]["test images"] == 2
    models = {it["model"] for it in content["figures"]}
    assert models == {NOTHING.model, REDRAWN.model, MR.model, "tiny"}
    changed = next(table for table in content["tables"] if table["title"] == "Change by leaving out")
    assert [row[0] for row in changed["rows"]] == [REDRAWN.name, MR.name, MR.name]
    text = (folder / "generalisation.md").read_text()
    for heading in ("# What generalises", "## What generalises", "## Change by leaving out", "## Dice"):
        assert f"{heading}\n" in text
    assert "| mr | discs | Dice |" in text


def test_what_was_learnt_stays(folder: Path, study: Study, base: nn.Module, before: dict[str, bytes]) -> None:
    """A second run takes no further step; the models differ, their encoder is the base's, the images are untouched."""
    logs = {group: study.work / group.name / LOG_FILENAME for group in (NOTHING, REDRAWN, MR)}
    stored = {group: path.read_text() for group, path in logs.items()}
    first = [Bundle.load(study.work / group.name / "bundle").manifest for group in logs]
    with Progress(console=Console(quiet=True)) as progress:
        again = [bundle.manifest for bundle in learn(study, base, progress)]
    assert {group: path.read_text() for group, path in logs.items()} == stored
    assert [manifest.decoder_revision for manifest in again] == [manifest.decoder_revision for manifest in first]
    assert len({manifest.decoder_revision for manifest in (study.base.manifest, *first)}) == 4
    assert {manifest.encoder_revision for manifest in first} == {study.base.manifest.encoder_revision}
    assert {path.name: path.read_bytes() for path in study.images.iterdir()} == before


@pytest.mark.parametrize(("limit", "expected"), [(0, {"test-0", "test-1"}), (1, {"test-0"}), (9, {"test-0", "test-1"})])
def test_a_limit_is_of_each_source(study: Study, limit: int, expected: set[str]) -> None:
    """With a limit of one, one test image of the source is asked about; a limit above their number changes nothing."""
    with Progress(console=Console(quiet=True)) as progress:
        outcomes = ask(replace(study, limit=limit), [study.base], progress)
    assert {it.sample for it in outcomes} == expected


def test_a_shortened_recipe_keeps_its_proportions() -> None:
    """Head steps shrink as the others do, and nothing else changes."""
    short = shortened(Recipe(steps=6000, head_steps=800, prompts=4, base_share=0.25), 1500)
    assert short == Recipe(steps=1500, head_steps=200, prompts=4, base_share=0.25)
