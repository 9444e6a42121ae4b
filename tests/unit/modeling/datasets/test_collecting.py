"""modeling.datasets.collecting: collections written whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from modeling.datasets.collecting import collect, read_splits
from modeling.sample import CollectionError, Sample, mask_target, read_collection


def sample(name: str, patient: str = "p", source: str = "s") -> Sample:
    """A picture with one target."""
    mask = np.zeros((6, 8), np.bool_)
    mask[2:4, 3:6] = True
    return Sample(name, np.full((6, 8), 7, np.uint8), (mask_target("liver", mask),), source, "CT", patient)


def test_contents_are_counted(tmp_path: Path) -> None:
    """What is written is counted by source, modality and split, and can be read back."""
    samples = [sample("a", "p1"), sample("b", "p1"), sample("c", "p2"), sample("d", source="t")]
    written = collect(samples, tmp_path / "out", "train")
    assert list(written) == [("s", "CT", "train"), ("t", "CT", "train")]
    contents = written["s", "CT", "train"]
    assert (len(contents.patients), contents.images, contents.targets) == (2, 3, 3)
    assert [found.split for found in read_collection(tmp_path / "out")] == ["train"] * 4


def test_splits_go_by_patient(tmp_path: Path) -> None:
    """All images of a patient are in the patient's split; a patient in none is refused, named by the image only."""
    samples = [sample("a", "p1"), sample("b", "p2"), sample("c", "p1")]
    collect(samples, tmp_path / "out", {"p1": "train", "p2": "test"})
    assert [found.name for found in read_collection(tmp_path / "out", ["train"])] == ["a", "c"]
    with pytest.raises(CollectionError, match="b: its patient is in no split") as caught:
        collect(samples, tmp_path / "more", {"p1": "train"})
    assert "p2" not in str(caught.value)


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    """Where reading fails midway, or nothing is read, no folder is left."""

    def damaged() -> Iterator[Sample]:
        yield sample("a")
        raise CollectionError("damaged")

    for samples, reason in ((damaged(), "damaged"), ([], "no images"), ([sample("a"), sample("a")], "named a")):
        with pytest.raises(CollectionError, match=reason):
            collect(samples, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A folder that holds something stays as it is; an empty one is used."""
    collect([sample("a")], tmp_path)
    with pytest.raises(CollectionError, match="holds something already"):
        collect([sample("b")], tmp_path)
    assert [found.name for found in read_collection(tmp_path)] == ["a"]


def test_splits_are_read_from_json(tmp_path: Path) -> None:
    """Splits come from a JSON file by patient; others are refused without naming a patient."""
    path = tmp_path / "splits.json"
    path.write_text('{"p1": "train"}')
    assert read_splits(path) == {"p1": "train"}
    for text in ("{", "[]", '{"p1": "val"}', '{"p1": ["train"]}'):
        path.write_text(text)
        with pytest.raises(CollectionError, match=r"splits\.json") as caught:
            read_splits(path)
        assert "p1" not in str(caught.value)
    with pytest.raises(CollectionError, match="FileNotFoundError"):
        read_splits(tmp_path / "none.json")
