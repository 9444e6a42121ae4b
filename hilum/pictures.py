"""Reading PNG, JPEG, TIFF and BMP through Pillow. Needs the extra `images`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

from hilum.errors import InvalidField, UnreadableImage
from hilum.files import refuse_option, require_pixels
from hilum.planes import PlaneName
from hilum.rescale import rescaled
from hilum.types import Image, Pixels, Volume

# Fewer formats, fewer parsers of hostile files.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_GREY_MODES = frozenset({"L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
_OPAQUE = 255


def read_image(path: Path, frame: int | None, plane: PlaneName | None, index: int | None) -> Image:
    """Reads a page, turned as its EXIF orientation says; grey or RGB, geometry in pixels.

    Sixteen-bit grey is kept; sixteen-bit colour keeps its upper eight bits. Palettes become RGB.

    Args:
        path: PNG, JPEG, TIFF or BMP.
        frame: Page, from 1; needed where there are several.
        plane: Refused: a picture has no planes.
        index: Refused.

    Raises:
        InvalidField: No page was named where there are several, or there is no such page.
        UnreadableImage: Damaged, too large, of another format, or transparent in places.
    """
    refuse_option(path, "plane", plane, "a picture has no planes")
    refuse_option(path, "index", index, "a picture has pages: use frame")
    with _opened(path) as picture:
        pages = getattr(picture, "n_frames", 1)
        if frame is None and pages > 1:
            raise InvalidField(f"{path.name} has {pages} pages: name one, from 1", field="frame")
        page = 1 if frame is None else frame
        if not 1 <= page <= pages:
            raise InvalidField(f"{path.name} has pages 1 to {pages}, not {page}", field="frame")
        picture.seek(page - 1)
        require_pixels(path, picture.height, picture.width)
        return Image(_pixels(path, PIL.ImageOps.exif_transpose(picture)))


def read_volume(path: Path, allow_uneven: bool) -> Volume:
    """Refuses: a picture is no volume, evenly spaced or not."""
    raise UnreadableImage(f"{path.name}: a picture is no volume ({allow_uneven=} or not): use read_image")


def frame_count(path: Path, plane: PlaneName) -> int:
    """Returns how many pages a picture has, the same for every plane."""
    del plane
    with _opened(path) as picture:
        return int(getattr(picture, "n_frames", 1))


@contextmanager
def _opened(path: Path) -> Iterator[PIL.Image.Image]:
    # Through a stream: given a name, Pillow 13.0 maps an uncompressed TIFF into memory and scrambles a turned one.
    with path.open("rb") as stream, PIL.Image.open(stream, formats=_FORMATS) as picture:
        yield picture


def _pixels(path: Path, picture: PIL.Image.Image) -> Pixels:
    if picture.mode in _GREY_MODES:
        values = rescaled(np.asarray(picture))
        if values.dtype == np.float32 and not np.isfinite(values).all():
            raise UnreadableImage(f"{path.name}: it holds values that are not finite")
        return values
    if picture.mode == "1":
        return np.asarray(picture.convert("L"))
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("RGB"))
    colours = np.asarray(picture.convert("RGBA"))
    if (colours[..., 3] < _OPAQUE).any():
        raise UnreadableImage(f"{path.name}: it is transparent in places: flatten it first")
    grey = picture.mode == "LA"
    return np.ascontiguousarray(colours[..., 0] if grey else colours[..., :3])
