"""A prediction as a JSON report: measurements, scores and provenance."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import hilum
from hilum.generation import Generation
from hilum.geometry import DetectorFrame, Frame, ImageGeometry, PatientFrame, PixelFrame, PlaneFrame
from hilum.masks import Diameter, area_mm2, bounding_box, longest_diameter
from hilum.results.segments import NOTICE, Segment, chosen_segments, require_same_size
from hilum.types import BoolMask, Box, Image, Prediction, Prompt

FORMAT_VERSION = 1
_FRAMES: dict[type[Frame], str] = {
    PatientFrame: "PATIENT_LPS",
    DetectorFrame: "DETECTOR_PLANE",
    PlaneFrame: "IMAGE_PLANE_MM",
    PixelFrame: "PIXELS",
}


def report(
    image: Image, prediction: Prediction, *, prompts: Sequence[Prompt] = (), labels: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns a report of plain values, ready for JSON.

    Lengths and areas are in mm where the image's geometry gives them in the patient, else null with `length_note`.
    The model score is the model's own estimate of its IoU; expected IoU and abstention are null where what it is worth
    was not measured on images like this one.

    Args:
        image: The image that was segmented.
        prediction: What `predict` returned for it.
        prompts: The prompts, or none.
        labels: One per prompt, or none.

    Raises:
        InvalidField: Prompts, labels or masks do not fit the prediction or the image.
    """
    segments = chosen_segments(prediction, prompts=prompts, labels=labels)
    require_same_size(image, segments)
    return {
        **heading(image, prediction),
        "segments": [_segment(segment, image.geometry) for segment in segments],
    }


def heading(image: Image, result: Prediction | Generation) -> dict[str, Any]:
    """Returns what every report says first: notice, software, source, image and model."""
    spacing = image.geometry.plane_spacing_mm
    height, width = image.size
    return {
        "format_version": FORMAT_VERSION,
        "notice": NOTICE,
        "software": f"hilum {hilum.__version__}",
        "source": asdict(image.source),
        "image": {
            "height_px": height,
            "width_px": width,
            "frame": _FRAMES[type(image.geometry.frame)],
            "spacing_mm": None if spacing is None else list(spacing),
            "length_note": _length_note(image.geometry),
        },
        "model": {
            "name": result.model,
            "encoder_revision": result.encoder_revision,
            "decoder_revision": result.decoder_revision,
        },
    }


def write_report(
    path: str | os.PathLike[str],
    image: Image,
    prediction: Prediction,
    *,
    prompts: Sequence[Prompt] = (),
    labels: Sequence[str] = (),
) -> None:
    """Writes `report` as JSON; arguments and errors as there."""
    content = report(image, prediction, prompts=prompts, labels=labels)
    Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def sizes(mask: BoolMask, geometry: ImageGeometry) -> dict[str, Any]:
    """Returns what is measured on a mask, in pixels, and in mm where the geometry gives them in the patient."""
    spacing = geometry.plane_spacing_mm
    in_pixels = longest_diameter(mask)
    in_mm = None if spacing is None else longest_diameter(mask, spacing)
    return {
        "area_px": int(np.count_nonzero(mask)),
        "area_mm2": area_mm2(mask, geometry),
        "longest_diameter_px": None if in_pixels is None else in_pixels.length,
        "longest_diameter_mm": None if in_mm is None else in_mm.length,
        "longest_diameter_ends_px": _ends(in_mm or in_pixels),
        "bounding_box_px": box_values(bounding_box(mask)),
    }


def box_values(box: Box | None) -> list[float] | None:
    """Returns a box as [x_min, y_min, x_max, y_max]."""
    return None if box is None else [box.x_min, box.y_min, box.x_max, box.y_max]


def _segment(segment: Segment, geometry: ImageGeometry) -> dict[str, Any]:
    predicted = segment.predicted
    return {
        "number": segment.number,
        "label": segment.label,
        "prompt": None if segment.prompt is None else _prompt(segment.prompt),
        "model_score": predicted.model_score,
        "expected_iou": predicted.expected_iou,
        "abstain": predicted.abstain,
        "stability_score": predicted.stability_score,
        **sizes(predicted.mask, geometry),
        "model_area_px": predicted.area_px,
        "empty_reason": predicted.empty_reason,
        "refinement": predicted.refinement,
    }


def _ends(diameter: Diameter | None) -> list[list[float]] | None:
    return None if diameter is None else [list(diameter.start), list(diameter.end)]


def _prompt(prompt: Prompt) -> dict[str, Any]:
    return {
        "box_px": box_values(prompt.box),
        "points_px": [
            [point.x, point.y, "foreground" if point.foreground else "background"] for point in prompt.points
        ],
        "mask_input": prompt.mask_input is not None,
    }


def _length_note(geometry: ImageGeometry) -> str:
    if geometry.plane_spacing_mm is not None:
        return ""
    if isinstance(geometry.frame, DetectorFrame):
        return "lengths in the patient are not known: the radiograph's magnification is not"
    return "lengths are not known: the image is not calibrated"
