"""COCO's instances: a JSON file with images, annotations (polygons, run lengths or boxes only) and categories.

The attribute `patient` of an image's entry, which COCO does not know but leaves room for, says who was imaged.
Source: cocodataset.org/#format-data.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilum.images import read_image
from hilum.intensity import grey_levels
from hilum.types import Box, IntensityMapping
from modeling.datasets.coco_masks import segmentation_mask
from modeling.sample import CollectionError, Sample, Target, mask_target

_KEYS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class _Instances:
    """A COCO file's entries, by their ids; annotations by the id of their image."""

    file: Path
    categories: Mapping[Any, str]
    images: Mapping[Any, dict[str, Any]]
    annotations: Mapping[Any, list[dict[str, Any]]]

    def of(self, image: Mapping[str, Any]) -> list[dict[str, Any]]:
        """An image's annotations."""
        return self.annotations.get(image["id"], [])

    def picture(self, image: Mapping[str, Any]) -> Path:
        """Where an image's picture lies."""
        name, folder = image.get("file_name"), self.file.parent
        if not isinstance(name, str) or not name:
            raise CollectionError(f"{self.file}: image {image['id']} has no file_name")
        for place in (folder, folder / "images", folder.parent / "images", folder.parent):
            if (place / name).is_file():
                return place / name
        raise CollectionError(f"{self.file}: {name} is not there: put pictures beside it, or in a folder images there")

    def require_size(self, image: Mapping[str, Any], picture: Path, size: tuple[int, int]) -> None:
        """Refuses a picture of another size than was annotated."""
        stated = (image.get("height", size[0]), image.get("width", size[1]))
        if stated != size:
            raise CollectionError(f"{picture}: it is {size} pixels (height, width), {self.file.name} says {stated}")

    def target(self, annotation: Mapping[str, Any], size: tuple[int, int]) -> Target:
        """An annotation as a target of an image of a size (height, width)."""
        try:
            label = self.categories[annotation["category_id"]]
            segmentation = annotation.get("segmentation")
            mask = segmentation_mask(segmentation, size) if segmentation else None
            if mask is not None and mask.any():
                return mask_target(label, mask)
            # No mask, or one so thin that it covers no pixel's centre.
            x, y, width, height = (float(value) for value in annotation["bbox"])
        except (KeyError, TypeError, ValueError) as error:
            reason = f"it lacks {error}, or names what is not there" if isinstance(error, KeyError) else str(error)
            raise CollectionError(f"{self.file}: annotation {annotation.get('id', '?')}: {reason}") from error
        # From corners to pixel centres.
        return Target(label, None, Box(x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5))


def read_coco(
    path: Path, *, source: str = "", modality: str = "", mapping: IntensityMapping | None = None
) -> Iterator[Sample]:
    """Yields the images in the file's order, with their annotations; those without any have no targets.

    Args:
        path: The JSON file, or a folder that holds one, itself or in its folder `annotations`. Pictures lie beside the
            file, in a folder `images` beside it, or beside the file's folder.
        source: The data set's name; the folder's if empty.
        modality: DICOM Modality; "OT" if empty.
        mapping: How values become grey levels; the image's default where None.

    Raises:
        CollectionError: There is no such file, or several; an entry is not as COCO says, or a picture is not found.
        UnreadableImage: A picture cannot be read.
    """
    files = coco_files(path) if path.is_dir() else [path]
    if len(files) != 1:
        found = ", ".join(file.name for file in files)
        raise CollectionError(f"{path}: it holds several COCO files: name one of {found}" if files else _none(path))
    folder = path if path.is_dir() else path.parent
    instances = _instances(files[0])
    for entry in instances.images.values():
        picture = instances.picture(entry)
        image = read_image(picture)
        instances.require_size(entry, picture, image.size)
        yield Sample(
            name=Path(entry["file_name"]).with_suffix("").as_posix().strip("./").replace("/", "-"),
            image=grey_levels(image, mapping),
            targets=tuple(instances.target(annotation, image.size) for annotation in instances.of(entry)),
            source=source or folder.resolve().name,
            modality=modality or image.source.modality or "OT",
            patient=str(entry.get("patient") or picture.stem),
            spacing_mm=image.geometry.plane_spacing_mm,
        )


def coco_files(folder: Path) -> list[Path]:
    """Returns a folder's files of COCO's form, its own and those in `annotations`."""
    files = sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")])
    return [file for file in files if is_coco(file)]


def is_coco(file: Path) -> bool:
    """Whether a file is JSON with COCO's keys."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in _KEYS)


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CollectionError(f"{file}: it is no JSON that can be read ({error})") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in _KEYS):
        raise CollectionError(f"{file}: it has no lists {', '.join(_KEYS)}: export the data set as COCO instances")
    return content


def _none(folder: Path) -> str:
    return f"{folder}: there is no JSON file with {', '.join(_KEYS)} here or in annotations"


def _instances(file: Path) -> _Instances:
    content = _content(file)
    annotations: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    try:
        categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        images = {entry["id"]: entry for entry in content["images"]}
        for annotation in content["annotations"]:
            annotations[images[annotation["image_id"]]["id"]].append(annotation)
    except (KeyError, TypeError) as error:
        reason = f"an entry lacks {error}, or refers to it and it is not there"
        raise CollectionError(f"{file}: {reason}") from error
    return _Instances(file, categories, images, annotations)
