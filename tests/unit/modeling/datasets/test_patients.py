"""modeling.datasets.patients: who was imaged."""

from pathlib import Path

import pytest

from modeling.datasets.patients import PATIENTS_FILENAME, opaque_name, read_patients
from modeling.sample import CollectionError


def test_without_a_list_every_image_shows_somebody_else(tmp_path: Path) -> None:
    """The patient is the image's stem where there is no list."""
    assert read_patients(tmp_path).patient("a.png", "a") == "a"


def test_a_list_names_images_by_file_or_stem(tmp_path: Path) -> None:
    """A list may name images with or without suffix, and may start with a byte order mark, as spreadsheets write."""
    (tmp_path / PATIENTS_FILENAME).write_text("image,patient\na.png,p1\nb,p1\n", encoding="utf-8-sig")
    patients = read_patients(tmp_path)
    assert patients.patient("a.png", "a") == patients.patient("b.png", "b") == "p1"


def test_an_image_that_the_list_lacks_is_an_error(tmp_path: Path) -> None:
    """An image without a line, or a list of another form, is refused: guessing would mix splits."""
    path = tmp_path / PATIENTS_FILENAME
    path.write_text("image,patient\na.png,p1\n")
    with pytest.raises(CollectionError, match=r"names no patient for b\.png") as caught:
        read_patients(tmp_path).patient("b.png", "b")
    assert "p1" not in str(caught.value)
    path.write_text("file,who\na.png,p1\n")
    with pytest.raises(CollectionError, match="first line must be image,patient"):
        read_patients(tmp_path)


def test_opaque_names_are_the_start_of_a_hash() -> None:
    """A name is 12 hex digits of SHA-256, the same every time."""
    assert opaque_name("abc") == "ba7816bf8f01"
