"""Writing a data set as a collection: all of it or nothing, with the splits of its patients."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from modeling.sample import CollectionError, Sample, Split, write_collection


@dataclass
class Contents:
    """How much of one source, modality and split a collection holds."""

    patients: set[str] = field(default_factory=set)
    images: int = 0
    targets: int = 0


def collect(
    samples: Iterable[Sample], folder: Path, split: Split | Mapping[str, Split] | None = None
) -> dict[tuple[str, str, Split], Contents]:
    """Writes samples as a collection, one by one, and returns what is in it by (source, modality, split).

    Args:
        samples: What to write.
        folder: Of the collection; missing or empty. It appears when all is written.
        split: Of all, or by patient; each sample's own where None.

    Raises:
        CollectionError: The folder holds something, two samples have one name, a patient is in no split, or there
            are no samples; or what reading the samples raises.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CollectionError(f"{folder} holds something already: name a folder that does not exist yet")
    folder.parent.mkdir(parents=True, exist_ok=True)
    written: dict[tuple[str, str, Split], Contents] = {}
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write_collection(unfinished, _counted(samples, split, written))
        if not written:
            raise CollectionError("there are no images with what was asked for: nothing is written")
        unfinished.chmod(0o755)  # temporary folders are their owner's only
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return written


def read_splits(path: Path) -> dict[str, Split]:
    """Reads a JSON file of splits by patient, such as {"amos_0004": "test"}.

    Raises:
        CollectionError: It is no such file.
    """
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CollectionError(f"{path}: it cannot be read as JSON ({type(error).__name__})") from error
    if not isinstance(splits, dict) or not set(map(str, splits.values())) <= set(get_args(Split)):
        raise CollectionError(f'{path}: write patients and their splits, {{"PATIENT": "{"|".join(get_args(Split))}"}}')
    return splits


def _counted(
    samples: Iterable[Sample],
    split: Split | Mapping[str, Split] | None,
    written: dict[tuple[str, str, Split], Contents],
) -> Iterator[Sample]:
    """Passes samples on with their splits, and counts them."""
    names = set()
    for sample in samples:
        if sample.name in names:
            raise CollectionError(f"two images are named {sample.name}: rename one")
        names.add(sample.name)
        chosen = sample.split if split is None else split if isinstance(split, str) else split.get(sample.patient)
        if chosen is None:
            # The image is named, not the patient.
            raise CollectionError(f"{sample.name}: its patient is in no split: add the patient to the file of splits")
        contents = written.setdefault((sample.source, sample.modality, chosen), Contents())
        contents.patients.add(sample.patient)
        contents.images += 1
        contents.targets += len(sample.targets)
        yield replace(sample, split=chosen)
