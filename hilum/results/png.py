"""A prediction as a picture: outlines and prompts over the image, in true proportions. Needs the extra `images`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from hilum.extras import extra
from hilum.masks import outline
from hilum.results.canvas import BLACK, Canvas, Colour
from hilum.results.segments import Segment, chosen_segments, require_same_size, score_words
from hilum.types import BoolMask, Image, IntensityMapping, Prediction, Prompt

with extra("images"):
    from PIL import Image as PillowImage
    from PIL import ImageDraw

# Okabe and Ito's colours, told apart by colour-blind readers too; without black.
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178))
# Of more targets than this only those are named that must not be missed: empty ones, and where the service abstains.
_MOST_SCORES = 6


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
    canvas = Canvas.of(image, mapping)
    for segment in segments:
        _draw_segment(canvas, segment)
    canvas.mark_right(image.geometry)
    named = [segment for segment in segments if len(segments) <= _MOST_SCORES or _must_be_named(segment)]
    canvas.note([f"{segment.number}: {_words(segment)}" for segment in named], simulated=image.source.simulated)
    canvas.picture.save(path, "PNG")


def _draw_segment(canvas: Canvas, segment: Segment) -> None:
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
        canvas.write(corner, str(segment.number), colour=colour, anchor="la")


def _thick(line: BoolMask) -> BoolMask:
    """The line and its right and lower neighbours."""
    thick = line.copy()
    thick[1:] |= line[:-1]
    thick[:, 1:] |= line[:, :-1]
    return thick


def _draw_prompt(canvas: Canvas, draw: ImageDraw.ImageDraw, prompt: Prompt, colour: Colour) -> None:
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
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=BLACK)
        else:
            draw.line((x - radius, y - radius, x + radius, y + radius), fill=colour, width=2)
            draw.line((x - radius, y + radius, x + radius, y - radius), fill=colour, width=2)


def _must_be_named(segment: Segment) -> bool:
    return bool(segment.predicted.abstain) or not segment.predicted.mask.any()


def _words(segment: Segment) -> str:
    return score_words(segment.predicted) if segment.predicted.mask.any() else "empty mask"
