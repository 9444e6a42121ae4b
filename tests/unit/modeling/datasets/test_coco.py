"""modeling.datasets.coco: COCO's instances."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from hilum.types import Box
from modeling.datasets.coco import read_coco
from modeling.sample import CollectionError

ANNOTATIONS = [
    {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [[1, 1, 5, 1, 5, 4, 1, 4]], "bbox": [1, 1, 4, 3]},
    {"id": 2, "image_id": 7, "category_id": 4, "bbox": [2, 3, 4, 2]},
    {"id": 3, "image_id": 7, "category_id": 4, "segmentation": {"size": [8, 10], "counts": [0, 8, 72]}},
    {"id": 4, "image_id": 7, "category_id": 4, "segmentation": [[1.6, 1, 1.9, 1, 1.9, 4]], "bbox": [1.6, 1, 0.3, 3]},
]


def write(folder: Path, annotations: list[dict[str, Any]] = ANNOTATIONS, **image: Any) -> Path:
    """Writes one annotated picture of 8 rows and 10 columns, and one without annotations."""
    (folder / "images" / "set").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    for name in ("set/a.png", "b.png"):
        PillowImage.fromarray(np.full((8, 10), 9, np.uint8)).save(folder / "images" / name)
    images = [{"id": 7, "file_name": "set/a.png", "height": 8, "width": 10} | image, {"id": 8, "file_name": "b.png"}]
    categories = [{"id": 3, "name": "liver"}, {"id": 4, "name": "stone"}]
    path = folder / "annotations" / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def test_annotations_become_targets(tmp_path: Path) -> None:
    """Polygons and run lengths become masks, a box alone a box at pixel centres, so does what covers no centre."""
    write(tmp_path)
    annotated, bare = read_coco(tmp_path, source="s", modality="US")
    polygon, box, runs, thin = annotated.targets
    assert [target.label for target in annotated.targets] == ["liver", "stone", "stone", "stone"]
    assert polygon.mask is not None
    assert polygon.box == Box(0.5, 0.5, 4.5, 3.5)
    assert (box.mask, box.box) == (None, Box(1.5, 2.5, 5.5, 4.5))
    assert runs.mask is not None
    assert runs.mask[:, 0].all()
    assert runs.mask.sum() == 8
    assert thin.mask is None
    assert (annotated.name, annotated.source, annotated.modality) == ("set-a", "s", "US")
    assert bare.targets == ()


def test_patients_are_named_by_their_images(tmp_path: Path) -> None:
    """The image's attribute `patient` names the patient, else the file's stem."""
    path = write(tmp_path, patient="p1")
    assert [sample.patient for sample in read_coco(path)] == ["p1", "b"]


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"image_id": 9}, r"instances\.json: .*refers to it"),
        ({"category_id": 9}, "annotation 1: .*names what is not there"),
        ({"segmentation": [], "bbox": None}, "annotation 1"),
        ({"segmentation": [[1, 2]]}, "annotation 1: a polygon"),
        ({"segmentation": [1, 2]}, "annotation 1"),
    ],
)
def test_damaged_annotations_are_named(tmp_path: Path, annotation: dict[str, Any], reason: str) -> None:
    """An annotation that cannot be read is named with its file."""
    write(tmp_path, [ANNOTATIONS[0] | annotation])
    with pytest.raises(CollectionError, match=reason):
        list(read_coco(tmp_path))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ({"file_name": "c.png"}, r"c\.png is not there: put pictures"),
        ({"file_name": None}, "image 7 has no file_name"),
        ({"height": 10, "width": 8}, r"a\.png: it is \(8, 10\) pixels"),
    ],
)
def test_pictures_that_do_not_fit_are_named(tmp_path: Path, image: dict[str, Any], reason: str) -> None:
    """A picture that is missing, or of another size than was annotated, is refused."""
    write(tmp_path, **image)
    with pytest.raises(CollectionError, match=reason):
        list(read_coco(tmp_path))


def test_one_file_must_be_meant(tmp_path: Path) -> None:
    """No COCO file, several, or one of another form: the error says which."""
    with pytest.raises(CollectionError, match="no JSON file with images"):
        list(read_coco(tmp_path))
    path = write(tmp_path)
    (path.parent / "more.json").write_text(path.read_text())
    with pytest.raises(CollectionError, match=r"name one of instances\.json, more\.json"):
        list(read_coco(tmp_path))
    path.write_text("{}")
    with pytest.raises(CollectionError, match="export the data set as COCO instances"):
        list(read_coco(path))
    path.write_text("{")
    with pytest.raises(CollectionError, match="no JSON"):
        list(read_coco(path))
