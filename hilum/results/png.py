"""A prediction as a picture: outlines and prompts over the image, in true proportions. Needs the extra `images`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.extras import extra
from hilum.geometry import ImageGeometry, PatientFrame
from hilum.intensity import grey_levels
from hilum.masks import outline
from hilum.results.segments import NOTICE, SIMULATED, Segment, chosen_segments, require_same_size, score_words
from hilum.types import BoolMask, Image, IntensityMapping, Prediction, Prompt

with extra("images"):
    from PIL import Image as PillowImage
    from PIL import ImageDraw, ImageFont

# Small images are enlarged until people can see them, and no further than this.
_SHORT_SIDE_PX = 512
_LONG_SIDE_PX = 4096
# Okabe and Ito's colours, told apart by colour-blind readers too; without black.
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178))
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_NEARLY_ALONG = 0.7
# Of more targets than this only those are named that must not be missed: empty ones, and where the service abstains.
_MOST_SCORES = 6


@dataclass(frozen=True)
class _Canvas:
    """The picture being drawn, and the size of an image pixel on it."""

    picture: PillowImage.Image
    x_scale: float
    y_scale: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where an image point lies on the picture; pixel centres are at integers on both."""
        return (x + 0.5) * self.x_scale - 0.5, (y + 0.5) * self.y_scale - 0.5

    @property
    def text_px(self) -> int:
        return max(14, min(self.picture.size) // 28)


def write_png(
    path: str | os.PathLike[str],
    image: Image,
    prediction: Prediction,
    *,
    prompts: Sequence[Prompt] = (),
    mapping: IntensityMapping | None = None,
) -> None:
    """Writes the image with outlines of the masks, the prompts, and what readers must know.

    "not for diagnosis" is burned in, "simulated" where the image is, and an R where the patient's right side is, where
    the image has a place in the patient; so are the scores of up to six masks, and always which masks are empty and
    where the service abstains. Pixels are drawn square; images with a shorter side below 512 px are enlarged.

    Args:
        path: Of the PNG file.
        image: The image that was segmented.
        prediction: What `predict` returned for it.
        prompts: The prompts, to be drawn, or none.
        mapping: The one that was used; the image's own default where None.

    Raises:
        InvalidField: Prompts or masks do not fit the prediction or the image.
        InvalidTensor: Identity mapping of pixels that are not uint8.
    """
    segments = chosen_segments(prediction, prompts=prompts)
    require_same_size(image, segments)
    canvas = _enlarged(grey_levels(image, mapping), image.geometry)
    for segment in segments:
        _draw_segment(canvas, segment)
    _draw_side(canvas, image.geometry)
    _draw_notes(canvas, image, segments)
    canvas.picture.save(path, "PNG")


def right_edge(geometry: ImageGeometry) -> str:
    """Returns the picture's edge at which the patient's right side lies: left, right, top, bottom, or "" if none."""
    frame = geometry.frame
    if not isinstance(frame, PatientFrame):
        return ""
    along_x, along_y = frame.direction[0][0], frame.direction[0][1]
    if abs(along_x) >= _NEARLY_ALONG:
        return "left" if along_x > 0 else "right"
    if abs(along_y) >= _NEARLY_ALONG:
        return "top" if along_y > 0 else "bottom"
    return ""


def _enlarged(grey: NDArray[np.uint8], geometry: ImageGeometry) -> _Canvas:
    height, width = grey.shape[:2]
    aspect = geometry.pixel_aspect
    short, long = min(height * aspect, width), max(height * aspect, width)
    scale = max(1.0, 1 / aspect, min(_SHORT_SIDE_PX / short, _LONG_SIDE_PX / long))
    size = (round(width * scale), round(height * scale * aspect))
    picture = PillowImage.fromarray(grey).convert("RGB").resize(size, PillowImage.Resampling.BILINEAR)
    return _Canvas(picture, size[0] / width, size[1] / height)


def _draw_segment(canvas: _Canvas, segment: Segment) -> None:
    colour = _COLOURS[(segment.number - 1) % len(_COLOURS)]
    mask = PillowImage.fromarray(segment.predicted.mask)
    drawn = np.asarray(mask.resize(canvas.picture.size, PillowImage.Resampling.NEAREST))
    canvas.picture.paste(colour, mask=PillowImage.fromarray(_thick(outline(drawn))))
    draw = ImageDraw.Draw(canvas.picture)
    if segment.prompt is not None:
        _draw_prompt(canvas, draw, segment.prompt, colour)
    rows, columns = np.nonzero(drawn)
    if rows.size:
        corner = (float(columns.max()) + 4, float(rows.min()) - canvas.text_px)
        _text(canvas, corner, str(segment.number), colour=colour, anchor="la")


def _thick(line: BoolMask) -> BoolMask:
    """The line and its right and lower neighbours."""
    thick = line.copy()
    thick[1:] |= line[:-1]
    thick[:, 1:] |= line[:, :-1]
    return thick


def _draw_prompt(canvas: _Canvas, draw: ImageDraw.ImageDraw, prompt: Prompt, colour: tuple[int, int, int]) -> None:
    if prompt.box is not None:
        corners = [
            canvas.place(prompt.box.x_min, prompt.box.y_min),
            canvas.place(prompt.box.x_max, prompt.box.y_max),
        ]
        draw.rectangle(corners, outline=colour)
    radius = canvas.text_px / 4
    for point in prompt.points:
        x, y = canvas.place(point.x, point.y)
        if point.foreground:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=_BLACK)
        else:
            draw.line((x - radius, y - radius, x + radius, y + radius), fill=colour, width=2)
            draw.line((x - radius, y + radius, x + radius, y - radius), fill=colour, width=2)


def _draw_side(canvas: _Canvas, geometry: ImageGeometry) -> None:
    width, height = canvas.picture.size
    margin = canvas.text_px / 2
    places = {
        "left": ((margin, height / 2), "lm"),
        "right": ((width - margin, height / 2), "rm"),
        "top": ((width / 2, margin), "mt"),
        "bottom": ((width / 2, height - margin), "mb"),
    }
    edge = right_edge(geometry)
    if edge:
        place, anchor = places[edge]
        _text(canvas, place, "R", anchor=anchor, size=2 * canvas.text_px)


def _draw_notes(canvas: _Canvas, image: Image, segments: Sequence[Segment]) -> None:
    """Burns the notes in, from the lower left corner upwards."""
    named = [segment for segment in segments if len(segments) <= _MOST_SCORES or _must_be_named(segment)]
    notes = [f"{segment.number}: {_words(segment)}" for segment in named]
    notes += [SIMULATED] if image.source.simulated else []
    notes += [NOTICE]
    margin = canvas.text_px / 2
    for line, note in enumerate(reversed(notes)):
        height = canvas.picture.size[1] - margin - line * 1.3 * canvas.text_px
        _text(canvas, (margin, height), note, anchor="ld")


def _must_be_named(segment: Segment) -> bool:
    return bool(segment.predicted.abstain) or not segment.predicted.mask.any()


def _words(segment: Segment) -> str:
    return score_words(segment.predicted) if segment.predicted.mask.any() else "empty mask"


def _text(
    canvas: _Canvas,
    place: tuple[float, float],
    text: str,
    *,
    colour: tuple[int, int, int] = _WHITE,
    anchor: str,
    size: int = 0,
) -> None:
    font = ImageFont.load_default(size or canvas.text_px)
    ImageDraw.Draw(canvas.picture).text(
        place, text, fill=colour, font=font, anchor=anchor, stroke_width=2, stroke_fill=_BLACK
    )
