"""examples.click.groups: which training images remain when a group is left out."""

from pathlib import Path
from typing import Any

import pytest

from examples.click.groups import GROUPS, NOTHING, Group, UnpreparedError, prepared_without
from modeling.training_set import Preparation

PREPARATION = Preparation(variants={"organs": 2})
PICTURES = Group("pictures", sources=frozenset({"drawn", "photographs"}))
MR = Group("mr", modality="MR")


def _entry(name: str, source: str, modality: str, split: str = "train") -> dict[str, Any]:
    return {"name": name, "source": source, "modality": modality, "split": split}


ENTRIES = [
    _entry("liver", "organs", "CT"),
    _entry("head", "unlabelled", "MR"),
    _entry("lesion", "drawn", "US"),
    _entry("planted", "drawn", "MR"),
    _entry("cat", "photographs", "XC"),
    _entry("held-back", "organs", "CT", "test"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As prepared: two variants of the organs, and a photograph from which nothing is to be learnt."""
    for name in ("liver-v0", "liver-v1", "head-v0", "lesion-v0", "planted-v0"):
        (tmp_path / f"{name}.npz").write_bytes(b"prepared")
    (tmp_path / "cat-v0.npz").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (NOTHING, ["head-v0", "lesion-v0", "liver-v0", "liver-v1", "planted-v0"]),
        (PICTURES, ["head-v0", "liver-v0", "liver-v1"]),
        (MR, ["lesion-v0", "liver-v0", "liver-v1"]),
    ],
)
def test_what_remains_without_a_group(folder: Path, group: Group, expected: list[str]) -> None:
    """All variants of training images outside the group: by source or by modality, no test image, no empty file."""
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    remaining = prepared_without(group, ENTRIES, PREPARATION, folder)
    assert [path.stem for path in remaining.paths] == expected
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_missing_training_images_are_said(folder: Path) -> None:
    """A variant that remains and is not there is an error with the command that prepares it; others do not matter."""
    (folder / "head-v0.npz").unlink()
    with pytest.raises(UnpreparedError, match=r"1 of 6 training images are missing .* examples\.click\.train"):
        prepared_without(NOTHING, ENTRIES, PREPARATION, folder)
    assert len(prepared_without(MR, ENTRIES, PREPARATION, folder)) == 3


def test_a_group_may_be_absent() -> None:
    """A group is among a collection's training images only if one of them belongs to it; nothing is in `NOTHING`."""
    assert MR.among(ENTRIES)
    assert not MR.among([entry for entry in ENTRIES if entry["modality"] != "MR"])
    assert not Group("organs", sources=frozenset({"organs"})).among(ENTRIES[-1:])
    assert not NOTHING.among(ENTRIES)


def test_groups_have_names_of_their_own() -> None:
    """Names are folders: no two groups, nor `NOTHING`, share one."""
    names = [group.name for group in (NOTHING, *GROUPS)]
    assert len(set(names)) == len(names)
