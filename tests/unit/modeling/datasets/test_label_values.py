"""modeling.datasets.label_values: label values as masks and names."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from modeling.datasets.label_values import MAX_VALUES, read_names, value_label, value_masks
from modeling.sample import CollectionError


@settings(deadline=None)
@given(arrays.arrays(np.int16, (5, 7), elements=st.integers(-2, 6)))
def test_masks_share_out_the_foreground(values: NDArray[np.int16]) -> None:
    """Every pixel above 0 lies in the mask of its value, no other does, and no mask is empty."""
    masks = value_masks(values)
    again = sum((value * mask.astype(np.int16) for value, mask in masks.items()), np.zeros_like(values))
    assert np.array_equal(again, np.maximum(values, 0))
    assert all(mask.any() for mask in masks.values())


def test_grey_levels_are_no_labels() -> None:
    """More values than labels may have are refused, with what to do."""
    assert len(value_masks(np.arange(MAX_VALUES + 1))) == MAX_VALUES
    with pytest.raises(ValueError, match=r"65 values.*write masks as 0 and 255"):
        value_masks(np.arange(MAX_VALUES + 2))


def test_fractions_are_no_labels() -> None:
    """Values between whole numbers are refused; whole numbers stored as floats are labels."""
    assert list(value_masks(np.asarray([0.0, 2.0]))) == [2]
    with pytest.raises(ValueError, match="whole numbers"):
        value_masks(np.asarray([0.0, 0.5]))


def test_values_are_named() -> None:
    """A value has the name that is known for it; white is the target, others are numbered."""
    assert [value_label(value, {2: "liver"}) for value in (2, 3, 255)] == ["liver", "label 3", "target"]


def test_names_are_read_from_json(tmp_path: Path) -> None:
    """Names come from a JSON file by value; a file of another form is refused by its name."""
    path = tmp_path / "names.json"
    path.write_text('{"1": "liver"}')
    assert read_names(path) == {1: "liver"}
    for text in ("[1]", "{", '{"liver": 1}'):
        path.write_text(text)
        with pytest.raises(CollectionError, match=r"names\.json"):
            read_names(path)
