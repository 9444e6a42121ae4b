"""Arrays of label values, one number per pixel, as one mask per value."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask
from modeling.sample import CollectionError

# More distinct values than this are grey levels, such as a smoothed mask's edge, and no labels.
MAX_VALUES = 64
WHITE = 255
# Words that say that a file is a mask, not what it shows.
NAMELESS = frozenset({"", "label", "labels", "mask", "masks", "seg", "segmentation"})


def value_masks(values: NDArray[Any], max_values: int = MAX_VALUES) -> dict[int, BoolMask]:
    """Returns where each value above 0 is, by value, in rising order.

    Args:
        values: Of any shape, whole numbers; 0 and below are background.
        max_values: Most distinct values above 0.

    Raises:
        ValueError: Values are no whole numbers, or too many for labels.
    """
    found = np.unique(values[values > 0])
    if not np.array_equal(found, np.rint(found)):
        raise ValueError("its values are no whole numbers: labels are 0 for background, 1, 2, ...")
    if found.size > max_values:
        raise ValueError(
            f"it has {found.size} values, labels are at most {max_values}: write masks as 0 and 255, or one value each"
        )
    return {int(value): values == value for value in found}


def value_label(value: int, names: Mapping[int, str]) -> str:
    """Returns a value's name where one is known; "target" for white, else such as "label 3"."""
    return names.get(value) or ("target" if value == WHITE else f"label {value}")


def read_names(path: Path) -> dict[int, str]:
    """Reads a JSON file of names by label value, such as {"1": "liver", "2": "spleen"}.

    Raises:
        CollectionError: It is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {int(value): str(name) for value, name in content.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise CollectionError(f'{path}: write label values and their names as JSON, {{"1": "liver"}}') from error
