"""From a collection and an installed bundle to a fine-tuned one, which every service serves at once."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hilum.serving.bundle import Bundle, PromptKinds
from modeling.bundle_writer import WrittenBundle, write_bundle
from modeling.catalogue import ModelSpec
from modeling.curves import draw_curves
from modeling.evaluation.in_process import network_input
from modeling.finetuning import LOG_FILENAME, OnStep, finetune
from modeling.models import load_model
from modeling.recipe import Recipe
from modeling.sample import Sample
from modeling.training_set import OnProgress, Preparation, TrainingImage, TrainingSet, prepare

CURVES_FILENAME = "curves.png"


@dataclass(frozen=True)
class Job:
    """A fine-tuning from beginning to end.

    Attributes:
        base: the bundle to begin with.
        name: of the new bundle.
        preparation: how the samples become training images.
        recipe: how they are learnt from.
        work: folder for training images, checkpoint, log and curves; an interrupted job goes on there.
        threads: of the computation on CPU.
        device: "cpu" or "cuda".
    """

    base: Bundle
    name: str
    preparation: Preparation
    recipe: Recipe
    work: Path
    threads: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned model and what it came from."""

    model: nn.Module
    lineage: dict[str, Any]


def run(
    job: Job,
    samples: Sequence[Sample],
    on_prepared: OnProgress | None = None,
    on_step: OnStep | None = None,
) -> FineTuned:
    """Prepare the samples, fine-tune, and draw the curves.

    Args:
        job: what to do.
        samples: those of the training split are used, no others.
        on_prepared: told of each training image.
        on_step: told of each step.

    Raises:
        FineTuningError: nothing to learn from, or the work folder belongs to another job.
    """
    torch.set_num_threads(job.threads)
    training = [sample for sample in samples if sample.split == "train"]
    prepared = prepare(training, job.base, job.work / "images", job.preparation, on_prepared, threads=job.threads)
    model = load_model(job.base)

    def encoder_input(image: TrainingImage) -> NDArray[np.float32]:
        return network_input(image.image, job.base.manifest)[0]

    tuned = finetune(
        model,
        prepared,
        job.recipe,
        job.work,
        network_input=encoder_input,
        device=job.device,
        # Images are drawn ahead beside a GPU; on a processor there is nothing to hide them behind.
        workers=job.threads if job.device == "cuda" else 0,
        on_step=on_step,
    )
    draw_curves(job.work / LOG_FILENAME, job.work / CURVES_FILENAME)
    return FineTuned(tuned, lineage(job, training, prepared))


def write(job: Job, tuned: FineTuned, folder: Path) -> WrittenBundle:
    """Write the fine-tuned model as a bundle; its encoder's revision is the base's where the encoder stayed."""
    manifest = job.base.manifest
    taught_points = any(job.recipe.shares.get(kind, 0) > 0 for kind in ("click", "clicks"))
    taught_masks = job.recipe.shares.get("clicks", 0) > 0 and job.recipe.mask_feedback > 0
    prompts = manifest.prompts
    spec = ModelSpec(
        name=job.name,
        architecture=manifest.architecture,
        image_size=manifest.image_size,
        normalisation=manifest.normalisation,
        prompts=PromptKinds(
            points=prompts.points or taught_points,
            box=prompts.box,
            mask_input=prompts.mask_input or taught_masks,
            # With an equal share of the loss, mask 0 learns one click as well as any of the three.
            single_click=prompts.single_click or (taught_points and job.recipe.single_weight >= 1),
        ),
        licence=manifest.licence,
        source=f"fine-tuned from {manifest.name}; see lineage",
        lineage=tuned.lineage,
    )
    return write_bundle(tuned.model, spec, folder)


def lineage(job: Job, samples: Sequence[Sample], prepared: TrainingSet) -> dict[str, Any]:
    """What the manifest says of the bundle's origin: base, data, recipe."""
    images = Counter(sample.source for sample in samples)
    return {
        "base": job.base.manifest.name,
        "base_encoder_revision": job.base.manifest.encoder_revision,
        "base_decoder_revision": job.base.manifest.decoder_revision,
        "samples": {source: {"images": count, "sha256": _digest(samples, source)} for source, count in images.items()},
        "training_images": len(prepared),
        "preparation": dataclasses.asdict(job.preparation),
        "recipe": job.recipe.to_json(),
    }


def _digest(samples: Sequence[Sample], source: str) -> str:
    """SHA-256 (hex) of a source's images and masks, in the order of their names."""
    digest = hashlib.sha256()
    for sample in sorted((s for s in samples if s.source == source), key=lambda sample: sample.name):
        digest.update(f"{sample.name} {sample.image.shape}\n".encode())
        digest.update(np.ascontiguousarray(sample.image).tobytes())
        for target in sample.targets:
            digest.update(f"{target.label} {target.box}\n".encode())
            if target.mask is not None:
                digest.update(np.packbits(target.mask).tobytes())
    return digest.hexdigest()
