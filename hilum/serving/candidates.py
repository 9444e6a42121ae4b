"""Which of a decoder's four masks are the three candidates of an ambiguous prompt."""

import numpy as np
from numpy.typing import NDArray

from hilum.serving.bundle import PromptKinds

# segment-anything's mask 0 is for unambiguous prompts, 1 to 3 are for ambiguous ones.
_OF_SEGMENT_ANYTHING = (1, 2, 3)


def three_candidates(logits: NDArray[np.float32], threshold: float, kinds: PromptKinds) -> tuple[int, int, int]:
    """Numbers of the three masks that answer a prompt with multimask_output.

    Where mask 0 learnt what a click most likely means, it is the first of the three, in place of the one of masks 1 to
    3 that says the same again, the one with the highest IoU with it; the others follow in the model's order. Otherwise
    they are segment-anything's masks 1 to 3.

    Args:
        logits: (4, s, s) of one prompt.
        threshold: logits above it are mask.
        kinds: what the model learnt.
    """
    if not kinds.single_click:
        return _OF_SEGMENT_ANYTHING
    masks = logits > threshold
    both = (masks[1:] & masks[0]).sum((1, 2))
    either = (masks[1:] | masks[0]).sum((1, 2))
    repeated = 1 + int(np.argmax(both / np.maximum(either, 1)))
    second, third = (mask for mask in _OF_SEGMENT_ANYTHING if mask != repeated)
    return 0, second, third
