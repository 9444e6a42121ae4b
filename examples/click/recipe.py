"""How lite-medsam-click is made: what of the collection becomes training images, and how they are learnt from."""

from dataclasses import replace

from modeling.recipe import Recipe
from modeling.training_set import Preparation

BASE = "lite-medsam"
NAME = "lite-medsam-click"
PREPARATION = Preparation(
    seed=0,
    variants={
        "ct-demo": 2,
        "ct-organs-2d": 6,
        "mr-lesions": 6,
        "photographs": 2,
        "unlabelled-cr": 4,
        "unlabelled-dx": 4,
        "unlabelled-mr": 2,
        "unlabelled-us": 3,
    },
    # Stones are found in a region around them.
    zoom={"ct-stones-coronal": 0.75, "mr-lesions": 0.5},
)
# The shipped model, for a GPU. With the encoder frozen, what the images at hand teach is learnt after some 2,000 steps
# of one image; LoRA goes on.
_LEARNING = Recipe(
    trained="lora",
    lora_rank=16,
    steps=1750,
    head_steps=0,
    images=8,
    prompts=6,
    shares={"box": 0.2, "ground": 0.05, "click": 0.35, "again": 0.1, "clicks": 0.3},
    # Half the stones' clicks that people give fall beside the stone, within its box.
    imprecise=0.5,
    learning_rate=4e-4,
    average=0.998,
    checkpoint_every=250,
    precision="mixed",
)
# Two models, which saw other changes of the same images, are averaged.
RECIPES = (replace(_LEARNING, variation="mild"), replace(_LEARNING, variation="strong"))
# Of each model, before they are averaged.
SCORING = replace(_LEARNING, trained="decoder", steps=0, head_steps=100, average=0.98)
BASE_SHARE = 0.25
# The encoder frozen, for two cores and an hour.
ON_PROCESSOR = Recipe(steps=4500, head_steps=500, prompts=4, base_share=0.25, checkpoint_every=200)
