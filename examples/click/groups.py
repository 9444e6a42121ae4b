"""Groups of training images that are left out in turn, to see what a model can do without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilum.errors import HilumError
from modeling.training_set import Preparation, TrainingSet


class UnpreparedError(HilumError):
    """Training images that a collection calls for have not been prepared."""


@dataclass(frozen=True)
class Group:
    """Training images that have something in common.

    Attributes:
        name: on the command line, in tables, and of the folder.
        sources: the sources that belong to it.
        modality: images of this DICOM modality belong to it, whatever their source; None for no modality.
        related: the test sources that are most like it, as far as overlap can be measured there.
        seed: added to the recipe's: another draw of images and prompts.
    """

    name: str
    sources: frozenset[str] = frozenset()
    modality: str | None = None
    related: tuple[str, ...] = ()
    seed: int = 0

    @property
    def model(self) -> str:
        """Name of the model that learnt without it."""
        return f"without-{self.name}"

    def among(self, entries: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the training split of a collection's index has images that belong to it."""
        return any(entry["split"] == "train" and self.holds(entry) for entry in entries)

    def holds(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry of a collection's index belongs to it."""
        return entry["source"] in self.sources or entry["modality"] == self.modality


NOTHING = Group("nothing")
# How much two trainings on the same images differ: smaller changes mean nothing.
REDRAWN = Group("nothing-redrawn", seed=1)
# X-rays simulated from ct-demo stay when it goes: they are radiographs.
GROUPS = (
    REDRAWN,
    Group(
        "labelled-ct",
        sources=frozenset({"ct-demo", "ct-organs-2d"}),
        related=("ct-abdomen", "ct-kidney-stones", "ct-organs-2d"),
    ),
    Group("stones", sources=frozenset({"ct-stones-coronal"}), related=("ct-stones-coronal",)),
    Group("mr", modality="MR", related=("mr-abdomen", "mr-lesions", "mr-prostate-adc", "mr-prostate-hbv")),
    Group("drawn-and-planted", sources=frozenset({"drawn", "planted"}), related=("mr-lesions",)),
    Group("photographs", sources=frozenset({"photographs"})),
)


def prepared_without(
    group: Group, entries: Sequence[Mapping[str, Any]], preparation: Preparation, folder: Path
) -> TrainingSet:
    """The prepared training images that remain without a group; nothing is written.

    Args:
        group: what is left out.
        entries: of the collection's index; those of the training split are used.
        preparation: how the collection was prepared.
        folder: where `modeling.training_set.prepare` wrote.

    Raises:
        UnpreparedError: an image that remains is not there.
    """
    remaining = [entry for entry in entries if entry["split"] == "train" and not group.holds(entry)]
    paths = [
        folder / f"{entry['name']}-v{variant}.npz"
        for entry in remaining
        for variant in range(preparation.variants.get(entry["source"], preparation.default_variants))
    ]
    missing = sum(not path.exists() for path in paths)
    if missing:
        raise UnpreparedError(
            f"{missing} of {len(paths)} training images are missing in {folder}: "
            "`python -m examples.click.train` prepares them"
        )
    # Of some variants there was nothing to learn: their files are empty.
    return TrainingSet([path for path in paths if path.stat().st_size])
