"""How lite-medsam-click is made: what of the collection becomes training images, and how they are learnt from."""

from modeling.recipe import Recipe
from modeling.training_set import Preparation

BASE = "lite-medsam"
NAME = "lite-medsam-click"
PREPARATION = Preparation(
    seed=0,
    variants={
        "photographs": 2,
        "ct-organs-2d": 4,
        "mr-lesions": 4,
        "unlabelled-mr": 2,
        "unlabelled-ct": 2,
        "unlabelled-us": 4,
        "unlabelled-dx": 4,
        "unlabelled-cr": 3,
    },
    # Stones are found in a region around them.
    zoom={"ct-stones-coronal": 0.75, "mr-lesions": 0.5},
)
RECIPE = Recipe(steps=2000, head_steps=300)
