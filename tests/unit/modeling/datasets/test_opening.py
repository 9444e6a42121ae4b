"""modeling.datasets.opening: layouts told apart by what lies in a folder."""

from pathlib import Path
from types import FunctionType
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage

from hilum.errors import InvalidField
from modeling.datasets.collecting import collect
from modeling.datasets.opening import open_dataset, recognise
from modeling.sample import CollectionError
from tests.unit.dicom.conftest import dataset


def picture(path: Path) -> None:
    """Writes a small grey picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(np.full((6, 8), 50, np.uint8)).save(path)


def folder(path: Path) -> None:
    """Pictures with masks."""
    picture(path / "images" / "a.png")
    picture(path / "masks" / "a.png")


def dicom(path: Path) -> None:
    """A DICOM image."""
    path.mkdir(exist_ok=True)
    dataset(np.full((6, 8), 50, np.uint16)).save_as(path / "a", enforce_file_format=True)


def nifti(path: Path) -> None:
    """A volume with labels."""
    library: Any = nibabel  # typed in parts only
    path.mkdir(exist_ok=True)
    for name in ("v.nii", "v_seg.nii"):
        library.save(library.Nifti1Image(np.ones((6, 8, 2), np.uint8), np.diag([-1, 1, 1, 1])), path / name)


def coco(path: Path) -> None:
    """A COCO file."""
    picture(path / "images" / "a.png")
    (path / "a.json").write_text('{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []}')


def collection(path: Path) -> None:
    """A collection, whose folders could be taken for pictures with masks."""
    folder(path / "before")
    collect(open_dataset(path / "before"), path / "after")
    for file in (path / "after").iterdir():
        file.rename(path / file.name)


@pytest.mark.parametrize("make", [collection, folder, dicom, nifti, coco], ids=lambda make: make.__name__)
def test_layouts_are_recognised(tmp_path: Path, make: FunctionType) -> None:
    """Each layout is recognised and read."""
    make(tmp_path)
    assert recognise(tmp_path) == make.__name__
    assert len(list(open_dataset(tmp_path))) >= 1


def test_files_are_recognised(tmp_path: Path) -> None:
    """A COCO file or a volume may be named itself."""
    coco(tmp_path)
    nifti(tmp_path)
    assert (recognise(tmp_path / "a.json"), recognise(tmp_path / "v.nii")) == ("coco", "nifti")


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    """What is missing, empty or unknown is one error that says what was looked for."""
    with pytest.raises(CollectionError, match="does not exist"):
        open_dataset(tmp_path / "nothing")
    (tmp_path / "notes.json").write_text("{}")
    for path in (tmp_path, tmp_path / "notes.json"):
        with pytest.raises(CollectionError, match=r"no data set of a known layout: there is no index\.json"):
            open_dataset(path)


def test_two_layouts_need_a_choice(tmp_path: Path) -> None:
    """A folder that could be two layouts is refused until the kind is named."""
    folder(tmp_path)
    coco(tmp_path)
    with pytest.raises(CollectionError, match=r"--kind folder\|coco"):
        open_dataset(tmp_path)
    assert len(list(open_dataset(tmp_path, "folder"))) == 1


def test_pictures_may_be_dicom_files(tmp_path: Path) -> None:
    """DICOM files in the folder of images do not make it another layout."""
    folder(tmp_path)
    dicom(tmp_path / "images")
    (tmp_path / "images" / "a").rename(tmp_path / "images" / "b.dcm")
    assert recognise(tmp_path) == "folder"
    assert [sample.name for sample in open_dataset(tmp_path)] == ["a", "b"]


def test_options_of_other_layouts_are_refused(tmp_path: Path) -> None:
    """An option that a layout does not know is refused, not passed over."""
    folder(tmp_path)
    with pytest.raises(InvalidField, match="plane: it does not apply to a folder images"):
        open_dataset(tmp_path, plane="axial")
