"""An image as a picture to draw on: true proportions, the patient's right, words. Needs the extra `images`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hilum.extras import extra
from hilum.geometry import ImageGeometry, PatientFrame
from hilum.intensity import grey_levels
from hilum.results.segments import NOTICE, SIMULATED
from hilum.types import Image, IntensityMapping

with extra("images"):
    from PIL import Image as PillowImage
    from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
# Small images are enlarged until people can see them, and no further than this.
_SHORT_SIDE_PX = 512
_LONG_SIDE_PX = 4096
_NEARLY_ALONG = 0.7


@dataclass(frozen=True)
class Canvas:
    """The picture being drawn, and the size of an image pixel on it."""

    picture: PillowImage.Image
    x_scale: float
    y_scale: float

    @classmethod
    def of(cls, image: Image, mapping: IntensityMapping | None) -> Canvas:
        """Returns an image's grey levels or colours, pixels drawn square, small images enlarged.

        Raises:
            InvalidTensor: Identity mapping of pixels that are not uint8.
        """
        grey = grey_levels(image, mapping)
        height, width = grey.shape[:2]
        aspect = image.geometry.pixel_aspect
        short, long = min(height * aspect, width), max(height * aspect, width)
        scale = max(1.0, 1 / aspect, min(_SHORT_SIDE_PX / short, _LONG_SIDE_PX / long))
        size = (round(width * scale), round(height * scale * aspect))
        picture = PillowImage.fromarray(grey).convert("RGB").resize(size, PillowImage.Resampling.BILINEAR)
        return cls(picture, size[0] / width, size[1] / height)

    @property
    def text_px(self) -> int:
        """Height of words."""
        return max(14, min(self.picture.size) // 28)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where an image point lies on the picture; pixel centres are at integers on both."""
        return (x + 0.5) * self.x_scale - 0.5, (y + 0.5) * self.y_scale - 0.5

    def write(
        self, place: tuple[float, float], text: str, *, colour: Colour = WHITE, anchor: str, size: int = 0
    ) -> None:
        """Writes words that are read on any ground; `anchor` is Pillow's, `size` that of other words where 0."""
        font = ImageFont.load_default(size or self.text_px)
        ImageDraw.Draw(self.picture).text(
            place, text, fill=colour, font=font, anchor=anchor, stroke_width=2, stroke_fill=BLACK
        )

    def mark_right(self, geometry: ImageGeometry) -> None:
        """Writes an R where the patient's right side is, where that is known."""
        width, height = self.picture.size
        margin = self.text_px / 2
        places = {
            "left": ((margin, height / 2), "lm"),
            "right": ((width - margin, height / 2), "rm"),
            "top": ((width / 2, margin), "mt"),
            "bottom": ((width / 2, height - margin), "mb"),
        }
        edge = right_edge(geometry)
        if edge:
            place, anchor = places[edge]
            self.write(place, "R", anchor=anchor, size=2 * self.text_px)

    def note(self, words: Sequence[str], *, simulated: bool) -> None:
        """Burns lines in from the lower left corner upwards: these, "simulated", and always "not for diagnosis"."""
        notes = [*words, *([SIMULATED] if simulated else []), NOTICE]
        margin = self.text_px / 2
        for line, words_of_line in enumerate(reversed(notes)):
            height = self.picture.size[1] - margin - line * 1.3 * self.text_px
            self.write((margin, height), words_of_line, anchor="ld")


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
