"""The founding studies' tables by name, filled from this evaluation where it has their kind of data.

What is missing, data or a model, says "not available". Published figures are those of the papers' abstracts.
"""

from collections.abc import Sequence

import numpy as np

from modeling.evaluation.consistency import contradictions, f1_of
from modeling.evaluation.measures import Counts
from modeling.evaluation.outcome import Outcome, chosen, image_mean
from modeling.evaluation.tables import NOT_AVAILABLE, Table, models_of, protocols_of

DETECTED = "detected boxes"
XRAY_MODALITIES = frozenset({"CR", "DX", "RG", "XR", "RF", "XA"})
STONE_ROWS = (
    ("CT", frozenset({"CT"}), False),
    ("X-ray", XRAY_MODALITIES, False),
    ("X-ray, simulated", XRAY_MODALITIES, True),
)
SKIN_MODALITIES = frozenset({"XC", "ES", "DMS"})
# arXiv:2304.13973, abstract: fine-tuned ViT-B on HAM10000.
SKINSAM_PUBLISHED = {"accuracy": 0.945, "dice": 0.8879, "iou": 0.7843}
SAM_VARIANTS = ("sam-vit-b", "sam-vit-l", "sam-vit-h")


def stone_table(outcomes: Sequence[Outcome]) -> Table:
    """The stone study's form: CT and X-ray rows; precision, recall, F1 and accuracy of objects and of pixels."""
    stones = [it for it in outcomes if "stone" in it.label.lower()]
    rows: list[tuple[str, ...]] = []
    for name, modalities, simulated in STONE_ROWS:
        here = [it for it in stones if it.modality in modalities and it.simulated == simulated]
        for protocol in [it for it in (DETECTED, "box jittered", "click") if it in protocols_of(here)]:
            for model in models_of(here):
                mine = chosen(here, protocol=protocol, model=model)
                if mine:
                    rows.append((name, protocol, model, *_object_cells(mine), *_pixel_cells(mine)))
        if not here:
            rows.append((name, *[NOT_AVAILABLE] * 10))
    note = (
        "Objects: found where IoU with the target (box IoU where only its box is known) is .5 or more; an answer that "
        "is not empty and finds nothing is false; accuracy = found / (found + false + missed). Pixels: means over "
        "images, targets with masks only."
    )
    measures = ("precision", "recall", "F1", "accuracy")
    header = (
        "images",
        "prompt",
        "model",
        *(f"objects: {it}" for it in measures),
        *(f"pixels: {it}" for it in measures),
    )
    return Table("Stone study", note, header, tuple(rows))


def breast_table(outcomes: Sequence[Outcome]) -> Table:
    """BreastSAM's form (arXiv:2305.12447): SAM's variants by prompt on breast ultrasound, all, benign and malignant."""
    here = [it for it in outcomes if it.modality == "US" and "breast" in f"{it.source} {it.label}".lower()]
    prompts = ("no prompt", "everything, best fit", "ground point", "ground box", "box")
    rows: list[tuple[str, ...]] = []
    for kind in ("all", "benign", "malignant"):
        of_kind = [it for it in here if kind == "all" or kind in it.label.lower()]
        for model in dict.fromkeys((*SAM_VARIANTS, *models_of(here))):
            for prompt in prompts:
                mine = chosen(of_kind, protocol=prompt, model=model)
                if mine:
                    rows.append((model, prompt, kind, *_accuracy_cells(mine)))
            if not chosen(of_kind, model=model):
                rows.append((model, "any", kind, *[NOT_AVAILABLE] * 3))
    note = "Means over images. SAM's checkpoints are not part of this project; install one to fill its rows."
    return Table("BreastSAM", note, ("model", "prompt", "tumours", "pixel accuracy", "Dice", "IoU"), tuple(rows))


def skin_table(outcomes: Sequence[Outcome]) -> Table:
    """SkinSAM's form (arXiv:2304.13973): models by lesion type on dermoscopy, ground box prompts."""
    here = [it for it in outcomes if it.modality in SKIN_MODALITIES and _names_skin(it)]
    here = chosen(here, protocol="ground box")
    rows: list[tuple[str, ...]] = []
    for model in dict.fromkeys((*SAM_VARIANTS, *models_of(here))):
        for label in ("all", *sorted({it.label for it in here})):
            mine = [it for it in chosen(here, model=model) if label in ("all", it.label)]
            if mine:
                rows.append((model, label, *_accuracy_cells(mine)))
        if not chosen(here, model=model):
            rows.append((model, "all", *[NOT_AVAILABLE] * 3))
    published = (f"{value:.4f}" for value in SKINSAM_PUBLISHED.values())
    rows.append(("ViT-B fine-tuned, as published (HAM10000)", "all", *published))
    doubts = contradictions(SKINSAM_PUBLISHED, rounding=5e-5)
    note = "Means over images. " + (f"The published row as means over images: {'; '.join(doubts)}." if doubts else "")
    return Table("SkinSAM", note, ("model", "lesion", "pixel accuracy", "Dice", "IoU"), tuple(rows))


def consistency_table(outcomes: Sequence[Outcome]) -> Table:
    """Whether our own means can be true together."""
    rows = []
    masks = [it for it in outcomes if "dice" in it.values]
    for model in models_of(masks):
        for protocol in protocols_of(masks):
            mine = chosen(masks, model=model, protocol=protocol)
            if mine:
                names = ("dice", "iou", "precision", "recall", "f1")
                means = {name: float(np.mean([it.values[name] for it in mine])) for name in names}
                doubts = contradictions(means, rounding=1e-9)
                most = f1_of(means["precision"], means["recall"])
                bound = f"{means['iou']:.3f} >= {means['dice'] / (2 - means['dice']):.3f}"
                rows.append((model, protocol, bound, f"{means['f1']:.3f} <= {most:.3f}", "; ".join(doubts) or "yes"))
    note = "Means over answers: mean IoU is at least D / (2 - D) of the mean Dice; mean F1 at most 2PR / (P + R)."
    return Table("Consistency", note, ("model", "protocol", "IoU", "F1", "consistent"), tuple(rows))


def _names_skin(outcome: Outcome) -> bool:
    words = f"{outcome.source} {outcome.label}".lower()
    return any(word in words for word in ("skin", "derm", "ham10000", "isic"))


def _object_cells(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    targets = [it for it in outcomes if it.target >= 0]
    hits = sum(it.values["found"] for it in targets)
    false = sum(1 - it.values["empty"] - it.values["found"] for it in outcomes)
    counts = Counts(hits, false, len(targets) - hits, 0)
    figures = (counts.precision, counts.recall, counts.dice, counts.iou)
    return tuple(f"{figure:.3f}" for figure in figures)


def _pixel_cells(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    means = [image_mean(outcomes, name) for name in ("precision", "recall", "f1", "accuracy")]
    return tuple(str(mean) if mean.count else NOT_AVAILABLE for mean in means)


def _accuracy_cells(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    return tuple(str(image_mean(outcomes, name)) for name in ("accuracy", "dice", "iou"))
