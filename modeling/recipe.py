"""What a fine-tuning does, as one value that a manifest can hold."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from modeling.simulated_prompts import PromptKind

LossName: TypeAlias = Literal["focal_dice", "dice_ce"]
TrainedPart: TypeAlias = Literal["decoder", "lora", "all"]
Variation: TypeAlias = Literal["none", "mild", "strong"]


@dataclass(frozen=True)
class Recipe:
    """How a model is fine-tuned.

    Attributes:
        loss: "focal_dice" is SAM's 20 focal + dice, "dice_ce" is SkinSAM's dice + cross-entropy.
        match_loss_weight: weight of the founding stone study's |Sobel - Sobel| / N between predicted and true mask.
        trained: the prompt encoder and mask decoder; those and low-rank additions to the image encoder; or everything.
        lora_rank: of the additions.
        steps: of the training.
        images: images of a step.
        variation: whether, and how much, each step changes its images again, as augmentation did when they were
            prepared; then the encoder runs at every step, which is for GPUs.
        head_steps: further steps that train only the head which predicts IoU.
        prompts: prompts of each image of a step, all of one kind.
        shares: probabilities of the kinds of prompt; "ground" is BreastSAM's box, "clicks" are several, the later ones
            in what the earlier left wrong.
        most_clicks: of one prompt.
        mask_feedback: probability that "clicks" come with the mask they correct; "again" is one click that comes with
            the mask that it has just been answered with.
        jitter: canvas pixels by which a box's edges move at most.
        imprecise: probability that a first click on a small target falls anywhere in its box.
        learning_rate: highest of the one-cycle schedule (AdamW).
        encoder_rate: share of it for the encoder's own weights, where they are trained.
        weight_decay: of AdamW.
        average: decay of the exponential moving average of the weights, which is what is kept.
        base_share: share of the base model's weights in what is kept: blended weights lose less of what the base could
            do on other data (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).
        single_weight: weight of mask 0 beside the best of three for one click; at 1 it learns the likeliest meaning.
        score_weight: weight of the IoU regression.
        ranking_weight: weight of the order of a click's three candidates.
        seed: decides every draw.
        checkpoint_every: steps between checkpoints, from which a run can go on.
        precision: "mixed" is for GPUs: products in TF32, those of the encoder in bfloat16.
    """

    loss: LossName = "focal_dice"
    match_loss_weight: float = 0.0
    trained: TrainedPart = "decoder"
    lora_rank: int = 4
    steps: int = 1600
    images: int = 1
    variation: Variation = "none"
    head_steps: int = 200
    prompts: int = 6
    shares: Mapping[PromptKind, float] = field(
        default_factory=lambda: {"box": 0.25, "ground": 0.05, "click": 0.4, "clicks": 0.3}
    )
    most_clicks: int = 6
    mask_feedback: float = 0.5
    jitter: float = 5.0
    imprecise: float = 0.0
    learning_rate: float = 2e-4
    encoder_rate: float = 0.1
    weight_decay: float = 1e-4
    average: float = 0.995
    base_share: float = 0.0
    single_weight: float = 1.0
    score_weight: float = 1.0
    ranking_weight: float = 0.3
    seed: int = 0
    checkpoint_every: int = 100
    precision: Literal["float32", "mixed"] = "float32"

    @property
    def encodes(self) -> bool:
        """Whether the encoder runs at every step; otherwise stored embeddings do."""
        return self.variation != "none" or self.trained != "decoder"

    def to_json(self) -> dict[str, Any]:
        """The recipe as a JSON object."""
        return dataclasses.asdict(self) | {"shares": dict(self.shares)}
