"""Who was imaged, under opaque names: samples of one patient must not be split."""

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modeling.sample import CollectionError

PATIENTS_FILENAME = "patients.csv"
_DIGITS = 12


@dataclass(frozen=True)
class Patients:
    """Whom the images of a folder show; without a list, every image shows somebody else.

    Attributes:
        path: Of the list.
        by_image: Patients by the image's file name or stem; None where there is no list.
    """

    path: Path
    by_image: Mapping[str, str] | None

    def patient(self, filename: str, stem: str) -> str:
        """Returns whom an image shows.

        Raises:
            CollectionError: There is a list, and the image is not in it.
        """
        if self.by_image is None:
            return stem
        found = self.by_image.get(filename) or self.by_image.get(stem)
        if not found:
            raise CollectionError(f"{self.path}: it names no patient for {filename}: add a line for it")
        return found


def read_patients(folder: Path) -> Patients:
    """Reads a folder's `patients.csv`, with columns `image` and `patient`, where there is one.

    Raises:
        CollectionError: It is no such table.
    """
    path = folder / PATIENTS_FILENAME
    if not path.is_file():
        return Patients(path, None)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return Patients(path, {row["image"]: row["patient"] for row in csv.DictReader(stream)})
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise CollectionError(f"{path}: its first line must be image,patient, as UTF-8 text") from error


def opaque_name(identifier: str) -> str:
    """Returns 12 hex digits of an identifier's SHA-256: a pseudonym, which who knows the identifier can find again."""
    return hashlib.sha256(identifier.encode()).hexdigest()[:_DIGITS]
