"""Everything that was found in an image, numbered from the largest mask, and its JSON report."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.errors import InvalidField
from hilum.generation import GeneratedMask, Generation
from hilum.geometry import ImageGeometry
from hilum.results.report import box_values, heading, sizes
from hilum.types import Image


def largest_first(image: Image, generation: Generation) -> list[GeneratedMask]:
    """Returns the masks in the order of their numbers, which are the same in every file: the largest is 1.

    Raises:
        InvalidField: A mask is not of the image's size.
    """
    for found in generation.masks:
        if found.mask.shape != image.size:
            raise InvalidField(f"mask of {found.mask.shape}, image of {image.size}", field="generation")
    return sorted(generation.masks, key=lambda found: -found.area_px)


def labels_of(size: tuple[int, int], masks: Sequence[GeneratedMask]) -> NDArray[np.uint16]:
    """Returns an image (height, width) of labels: 0 is background, n the n-th mask; later ones lie on top."""
    labels = np.zeros(size, np.uint16)
    for number, found in enumerate(masks, 1):
        labels[found.mask] = number
    return labels


def generation_report(image: Image, generation: Generation) -> dict[str, Any]:
    """Returns a report of plain values, ready for JSON: provenance, parameters, and every mask, the largest first.

    Lengths and areas are as in `hilum.results.report.report`. Model scores are not calibrated.

    Args:
        image: The image that was searched.
        generation: What `generate_masks` returned for it.

    Raises:
        InvalidField: Masks do not fit the image.
    """
    masks = largest_first(image, generation)
    return {
        **heading(image, generation),
        "parameters": asdict(generation.parameters),
        "masks": [_mask(number, found, image.geometry) for number, found in enumerate(masks, 1)],
    }


def write_generation_report(path: str | os.PathLike[str], image: Image, generation: Generation) -> None:
    """Writes `generation_report` as JSON; arguments and errors as there."""
    content = generation_report(image, generation)
    Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _mask(number: int, found: GeneratedMask, geometry: ImageGeometry) -> dict[str, Any]:
    return {
        "number": number,
        "point_px": [found.point.x, found.point.y],
        "crop_box_px": box_values(found.crop_box),
        "model_score": found.model_score,
        "stability_score": found.stability_score,
        **sizes(found.mask, geometry),
    }
