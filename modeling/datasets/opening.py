"""Data sets of any layout that Hilum knows, recognised by what lies in a folder."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, Unpack

from hilum.errors import InvalidField
from hilum.planes import PlaneName
from hilum.types import IntensityMapping
from modeling.datasets.coco import coco_files, is_coco, read_coco
from modeling.datasets.dicom_seg import dicom_files, read_dicom
from modeling.datasets.folder import IMAGES, MASKS, picture_files, read_folder
from modeling.datasets.nifti_pairs import find_volumes, read_nifti_pairs
from modeling.sample import INDEX_FILENAME, CollectionError, Sample, read_collection

Kind: TypeAlias = Literal["collection", "folder", "dicom", "nifti", "coco"]


class Options(TypedDict, total=False):
    """What may be said of a data set, as its reader describes it; not every kind takes all."""

    source: str
    modality: str
    mapping: IntensityMapping | None
    names: Mapping[int, str]
    plane: PlaneName
    every: int
    min_area_px: int


def open_dataset(path: Path, kind: Kind | Literal["auto"] = "auto", **options: Unpack[Options]) -> Iterator[Sample]:
    """Yields the samples of a data set.

    Args:
        path: A folder, or where one file says it all (COCO's JSON, a NIfTI volume), a file.
        kind: Its layout; "auto" looks.
        options: Those of the layout's reader: `read_folder`, `read_dicom`, `read_nifti_pairs`, `read_coco`.

    Raises:
        CollectionError: It is of no known layout, of several, or not as its layout says.
        InvalidField: An option does not apply to this layout.
        UnreadableImage: A file cannot be read.
    """
    found = recognise(path) if kind == "auto" else kind
    reader = _READERS[found]
    for option in options:
        if option not in inspect.signature(reader).parameters:
            raise InvalidField(f"it does not apply to {DESCRIPTIONS[found]}", field=option)
    return reader(path, **options)


def recognise(path: Path) -> Kind:
    """Returns a data set's layout.

    Raises:
        CollectionError: It is of no known layout, or of several.
    """
    if not path.exists():
        raise CollectionError(f"{path} does not exist")
    if (path / INDEX_FILENAME).is_file() and not is_coco(path / INDEX_FILENAME):
        return "collection"
    found = [kind for kind, is_it in _SIGNS.items() if is_it(path)]
    # The pictures of the other layouts may be DICOM files; looking for those reads every file below the folder.
    if set(found) <= {"nifti"} and path.is_dir() and next(dicom_files(path), None) is not None:
        found.append("dicom")
    if len(found) > 1:
        kinds = " and ".join(DESCRIPTIONS[kind] for kind in found)
        raise CollectionError(f"{path}: it looks like {kinds}: say which with --kind {'|'.join(found)}")
    if not found:
        raise CollectionError(
            f"{path}: it is no data set of a known layout: there is no {INDEX_FILENAME}, no {IMAGES}/ with {MASKS}/ "
            "beside it, no JSON file of COCO's form, no NIfTI volume and no DICOM file"
        )
    return found[0]


def _collection(path: Path) -> Iterator[Sample]:
    return read_collection(path)


DESCRIPTIONS: dict[Kind, str] = {
    "collection": "a collection",
    "folder": f"a folder {IMAGES} with {MASKS} beside it",
    "dicom": "a folder of DICOM files",
    "nifti": "NIfTI volumes",
    "coco": "COCO instances",
}
_READERS: dict[Kind, Callable[..., Iterator[Sample]]] = {
    "collection": _collection,
    "folder": read_folder,
    "dicom": read_dicom,
    "nifti": read_nifti_pairs,
    "coco": read_coco,
}
_SIGNS: dict[Kind, Callable[[Path], bool]] = {
    "folder": lambda path: (path / MASKS).is_dir() and bool(picture_files(path / IMAGES)),
    "coco": lambda path: bool(coco_files(path)) if path.is_dir() else is_coco(path),
    "nifti": lambda path: bool(find_volumes(path)),
}
