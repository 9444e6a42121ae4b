"""Which part of an image is encoded for a prompt: small targets get a region at the model's full resolution.

A 10 px stone in a 512 x 512 slice is 5 px on a 256 x 256 canvas. Encoding a crop around it instead keeps its detail.
The rule, for callers in any language (test vectors: protos/hilum/v1/region_vectors.json). Lengths along y are first
multiplied by the pixel aspect (height of a pixel divided by its width), so that all are in widths of a pixel:

1. Only a box says how large a target is; without a box the whole image is encoded, and clicks get a second look.
2. extent = the longer side of the box. The sides offered are S/2, S, 2 S, 4 S, ... for a model with input side S; the
   region's side is the smallest of them that is at least 8 extents.
3. If that side is more than three quarters of the image's longer side, the whole image is encoded.
4. The region has `side` columns, and side / aspect rows, rounded (halves upwards), at least one. Along each axis, with
   n columns or rows and a step of n / 8, rounded down, at least one: the region is centred on the box, its first column
   or row rounded to a multiple of the step (halves upwards), then moved inside the image. Where the image has fewer
   than n, the region takes all of them.

Neighbouring prompts therefore share a region, and with it an embedding. On square pixels the region is square.

A click is a prompt of points, without box and previous mask. It says where a target is, not how large, so a caller
looks twice, and takes of each look the model's first choice, the mask with the highest score of three, or the single
mask where the model learnt clicks with it:

5. The first look is at the whole image.
6. If its choice has pixels, and rules 2 to 4 give a region for the tight box around them, and every foreground point
   lies in that region, the second look is there: around the mask.
7. Otherwise, if the first choice has no pixels, or more than CLOSE_LOOK_ABOVE_SHARE of the image's, the second look is
   in the region that rules 2 to 4 give for the tight box around the foreground points (for one click: the smallest
   region, around it), if they give one: around the click.
8. The second choice counts if the first has no pixels, or no higher score. It never counts where it has no pixels, or
   reaches an edge of the region that is none of the image's: it is cut off, and the target is no small one. The first
   counts then.
9. Where an image was made by X-rays (DICOM modality CT, CR, DX, MG, XA, RF, PX or IO), has one value a pixel, and one
   mask is wanted, the second look is asked for all the model's candidates, and those are sought that stand out, small
   bright targets as stones are. A mask stands out if it has pixels and is not cut off; if the longer side of its tight
   box is at most an eighth of the region's; if every foreground point lies within a sixteenth of the region's side of
   that box, in x and in y, and no background point on the mask; and if the mean of its values is above nine tenths of
   its ring's. The ring is what lies two or three pixels from it, rows and columns taken alike. Of a mask on which a
   foreground point lies the score must also be no more than .2 below the score of what counts by rules 6 to 8. Of the
   masks for which all this holds the one with the highest score is the answer.
10. If rule 9 finds none, what counts by rules 6 to 8 has a score below .5, and the click has one foreground point, the
   second look is asked again, in the same region, with that point moved to the brightest place near it: the pixel whose
   mean of 3 x 3 (at an edge of the image its pixels are repeated) is highest among the region's pixels that are at most
   a sixteenth of its side, rounded down, from the pixel clicked, in x and in y; of equals the first, row by row. Of its
   candidates those count that stand out, of the click as it was given, with a sixth of the region's side in place of an
   eighth, and have a score of .75 at least; the one with the highest score is the answer.

Where the person who clicks has said that the target is small and bright, rules 9 and 10 hold in images of any modality,
and ask for no score of what counts by rules 6 to 8: neither the .2 nor the .5.

Background points outside the region are left out of the second look. With a share of 0 every click that is not around a
small mask gets a close look: one more encoding at most, for a click whose region is not known yet. `second_look`,
`second_counts` and `hilum.bright_target.CloseUp` are these rules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hilum.types import Box, Point, PredictedMask, Prompt

SIDE_PER_EXTENT = 8
STEPS_PER_SIDE = 8
LARGEST_SHARE = 0.75
# The first choice's share of the image above which a click is looked at closely, too; 0: whatever it has found.
CLOSE_LOOK_ABOVE_SHARE = 0.0


@dataclass(frozen=True)
class Region:
    """An integer, half-open crop of an image, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def holds(self, point: Point) -> bool:
        """Returns whether a point lies on the region's pixels."""
        return (
            self.x - 0.5 <= point.x <= self.x + self.width - 0.5
            and self.y - 0.5 <= point.y <= self.y + self.height - 0.5
        )

    def cuts(self, box: Box, image_size: tuple[int, int]) -> bool:
        """Returns whether the tight box of a mask found in the region reaches an edge at which the image goes on.

        Args:
            box: Edges at pixel borders.
            image_size: (height, width).
        """
        height, width = image_size
        right, bottom = self.x + self.width, self.y + self.height
        return (
            0 < self.x >= box.x_min + 0.5
            or 0 < self.y >= box.y_min + 0.5
            or box.x_max + 0.5 >= right < width
            or box.y_max + 0.5 >= bottom < height
        )


@dataclass(frozen=True)
class SecondLook:
    """Where a click is looked at again, and why.

    Attributes:
        region: What is encoded.
        prompt: The click, without background points outside the region.
    """

    region: Region
    prompt: Prompt


def choose_region(
    prompt: Prompt, image_size: tuple[int, int], model_side: int, pixel_aspect: float = 1.0
) -> Region | None:
    """Returns the region to encode for a prompt, None for the whole image.

    Args:
        prompt: What marks the target, in full-image pixels.
        image_size: (height, width).
        model_side: Side of the model's square input.
        pixel_aspect: Height of a pixel divided by its width.
    """
    box = prompt.box
    if box is None:
        return None
    height, width = image_size
    extent = max(box.x_max - box.x_min, (box.y_max - box.y_min) * pixel_aspect)
    largest = LARGEST_SHARE * max(width, height * pixel_aspect)
    side = model_side // 2
    while side < SIDE_PER_EXTENT * extent and side <= largest:
        side *= 2
    if side > largest or not math.isfinite(extent):
        return None
    rows = max(math.floor(side / pixel_aspect + 0.5), 1)
    x = _first((box.x_min + box.x_max) / 2, side, width)
    y = _first((box.y_min + box.y_max) / 2, rows, height)
    return Region(x, y, min(side, width), min(rows, height))


def is_click(prompt: Prompt) -> bool:
    """Returns whether a prompt says where its target is, not how large: points without box and previous mask."""
    return bool(prompt.points) and prompt.box is None and prompt.mask_input is None


def second_look(
    prompt: Prompt,
    found: PredictedMask,
    model_side: int,
    pixel_aspect: float = 1.0,
    *,
    close_above_share: float = CLOSE_LOOK_ABOVE_SHARE,
) -> SecondLook | None:
    """Returns where a click is looked at again (rules 6 and 7), None where the first look stands.

    Args:
        prompt: The click, in full-image pixels.
        found: The first choice of the first look, at the whole image.
        model_side: Side of the model's square input.
        pixel_aspect: Height of a pixel divided by its width.
        close_above_share: Share of the image's pixels that the first choice covers where it is looked at closely.
    """
    size = (int(found.model_mask.shape[0]), int(found.model_mask.shape[1]))
    clicks = [point for point in prompt.points if point.foreground]
    around_mask = choose_region(Prompt(box=found.bounding_box), size, model_side, pixel_aspect)
    if around_mask is not None and all(map(around_mask.holds, clicks)):
        return _looking_at(around_mask, prompt)
    if not clicks or 0 < found.area_px <= close_above_share * found.model_mask.size:
        return None
    x, y = [point.x for point in clicks], [point.y for point in clicks]
    tight = Box(min(x), min(y), max(x), max(y))
    around_clicks = choose_region(Prompt(box=tight), size, model_side, pixel_aspect)
    return None if around_clicks is None else _looking_at(around_clicks, prompt)


def second_counts(region: Region, first: PredictedMask, second: PredictedMask) -> bool:
    """Returns whether the second look's first choice takes the place of the first look's (rule 8).

    Args:
        region: Of the second look.
        first: The first choice of the look at the whole image.
        second: The first choice of the look at the region, in full-image pixels.
    """
    box = second.bounding_box
    if box is None or region.cuts(box, (int(second.model_mask.shape[0]), int(second.model_mask.shape[1]))):
        return False
    return not first.area_px or second.model_score >= first.model_score


def _looking_at(region: Region, prompt: Prompt) -> SecondLook:
    seen = tuple(point for point in prompt.points if point.foreground or region.holds(point))
    return SecondLook(region, Prompt(points=seen))


def _first(centre: float, count: int, length: int) -> int:
    """First of `count` columns or rows around a centre, on the grid and inside the image."""
    step = max(count // STEPS_PER_SIDE, 1)
    # Pixel centres lie at integers: a crop of n that begins at f is centred on f + (n - 1) / 2.
    snapped = math.floor((centre + 0.5 - count / 2) / step + 0.5) * step
    return max(0, min(snapped, length - count))
