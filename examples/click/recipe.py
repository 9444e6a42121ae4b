"""How lite-medsam-click is made: what of the collection becomes training images, and how they are learnt from."""

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
# Without the base's share, clicks on held-back patients are no better, and boxes on the demo's lungs worse.
RECIPE = Recipe(steps=4500, head_steps=500, prompts=4, base_share=0.25, checkpoint_every=200)
