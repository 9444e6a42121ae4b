"""How lite-medsam-click is made: what of the collection becomes training images, and how they are learnt from."""

from modeling.recipe import Recipe
from modeling.training_set import Preparation

BASE = "lite-medsam"
NAME = "lite-medsam-click"
PREPARATION = Preparation(
    seed=0,
    variants={"ct-organs-2d": 4, "mr-lesions": 4, "unlabelled-us": 2, "unlabelled-dx": 2, "unlabelled-cr": 2},
    # Stones are found in a region around them.
    zoom={"ct-stones-coronal": 0.75, "mr-lesions": 0.5},
)
# Without the base's share, clicks on held-back patients are no better, and boxes on the demo's lungs worse.
RECIPE = Recipe(steps=1900, head_steps=250, prompts=4, base_share=0.25)
