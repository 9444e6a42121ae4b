"""What `hilum segment` says about masks: sizes, scores, where the time went."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from hilum.cli.console import NOT_FOR_DIAGNOSIS
from hilum.generation import GeneratedMask
from hilum.geometry import ImageGeometry
from hilum.masks import area_mm2, longest_diameter
from hilum.results.segments import ABSTAINS
from hilum.types import Image, PredictedMask, Prediction, Prompt, first_choice

_ORIGINS = {
    "memory": "the decoder's memory",
    "cache": "the shared cache",
    "encoder": "the encoder",
    "inline": "this command, sent with the prompts",
}
_UNKNOWN = "-"
PIXELS_ONLY = "The image has no spacing in which lengths in the patient may be given: sizes are in pixels only."
SIZE_HEADINGS = ("area\npx", "area\nmm²", "longest diameter\npx", "longest diameter\nmm", "model\nscore")


def measurements(image: Image, prompts: Sequence[Prompt], prediction: Prediction, elapsed_ms: float) -> Group:
    """Returns a table of all masks, and the lines below it. An IoU is spoken of only where it is calibrated.

    Args:
        image: The image.
        prompts: What was asked.
        prediction: What was answered, in the same order.
        elapsed_ms: Time from the first request to the last answer.
    """
    table = Table(box=None, pad_edge=False)
    for heading in ("target", "prompt"):
        table.add_column(heading)
    calibrated = any(mask.expected_iou is not None for masks in prediction.masks for mask in masks)
    for heading in (*SIZE_HEADINGS, "expected\nIoU") if calibrated else SIZE_HEADINGS:
        table.add_column(heading, justify="right")
    table.add_column("remark")
    for number, (prompt, masks) in enumerate(zip(prompts, prediction.masks, strict=True), 1):
        for part, mask in enumerate(masks, 1):
            name = str(number) if len(masks) == 1 else f"{number}.{part}"
            expected = [_UNKNOWN if mask.expected_iou is None else f"{mask.expected_iou:.2f}"] if calibrated else []
            remark = _remark(mask, first=len(masks) > 1 and mask is first_choice(masks))
            table.add_row(name, prompt_words(prompt), *sizes(mask, image.geometry), *expected, remark)
    return Group(table, Text("\n".join(_lines(image, prediction, elapsed_ms, calibrated=calibrated))))


def prompt_words(prompt: Prompt) -> str:
    """Returns a prompt as it is written on the command line."""
    words = []
    if prompt.box is not None:
        box = prompt.box
        words.append(f"box {box.x_min:g},{box.y_min:g},{box.x_max:g},{box.y_max:g}")
    words += [f"{'click' if point.foreground else 'not'} {point.x:g},{point.y:g}" for point in prompt.points]
    return " ".join(words)


def sizes(mask: PredictedMask | GeneratedMask, geometry: ImageGeometry) -> list[str]:
    """Returns a mask's area, longest diameter and model score as the table's five columns of numbers."""
    spacing = geometry.plane_spacing_mm
    in_px = longest_diameter(mask.mask)
    in_mm = None if spacing is None else longest_diameter(mask.mask, spacing)
    area = area_mm2(mask.mask, geometry)
    return [
        str(int(mask.mask.sum())),
        _UNKNOWN if area is None else f"{area:.1f}",
        _UNKNOWN if in_px is None else f"{in_px.length:.1f}",
        _UNKNOWN if in_mm is None else f"{in_mm.length:.1f}",
        f"{mask.model_score:.2f}",
    ]


def _remark(mask: PredictedMask, *, first: bool) -> str:
    words = ["first choice"] if first else []
    if mask.abstain:
        words.append(ABSTAINS)
    if mask.empty_reason:
        words.append(f"empty: {mask.empty_reason.replace('_', ' ')}")
    if mask.refinement:
        words.append(f"refinement: {mask.refinement.replace('_', ' ')}")
    return ", ".join(words)


def _lines(image: Image, prediction: Prediction, elapsed_ms: float, *, calibrated: bool) -> list[str]:
    origins = dict.fromkeys(_ORIGINS.get(origin, origin) for origin in prediction.embedding_origins)
    times = [f"{name.removesuffix('_ms')} {value:.1f}" for name, value in prediction.timings_ms.items()]
    lines = [
        f"model {prediction.model}, decoder {prediction.decoder_revision[:12]}; embedding from {', '.join(origins)}",
        f"time in ms: {elapsed_ms:.1f} in all; in the decoder: {', '.join(times)}",
    ]
    if image.geometry.plane_spacing_mm is None:
        lines.append(PIXELS_ONLY)
    if calibrated:
        scores = (
            f"Expected IoU is what masks of that score had on held-back {image.source.modality} images, on average."
        )
    else:
        scores = "Model scores are not calibrated for this image."
    return [*lines, f"{NOT_FOR_DIAGNOSIS} {scores}"]
