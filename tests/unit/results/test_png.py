"""Pictures: true proportions, outlines and prompts in place, and what readers must know burned in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from hilum.errors import InvalidTensor
from hilum.geometry import ImageGeometry, Matrix3, PatientFrame, PlaneFrame
from hilum.results.canvas import right_edge
from hilum.results.png import write_png
from hilum.types import Box, Identity, Image, ImageSource, PredictedMask, Prompt, Window
from tests.unit.results.conftest import disc, predicted, prediction

AXIAL: Matrix3 = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
FLIPPED: Matrix3 = ((-1, 0, 0), (0, -1, 0), (0, 0, 1))
SAGITTAL: Matrix3 = ((0, 0, -1), (1, 0, 0), (0, -1, 0))
TURNED: Matrix3 = ((0, 1, 0), (1, 0, 0), (0, 0, -1))


def drawn(path: Path, image: Image, *masks: NDArray[np.bool_], prompts: tuple[Prompt, ...] = ()) -> NDArray[np.uint8]:
    """The picture's pixels (height, width, 3)."""
    write_png(path, image, prediction(image.source, *masks), prompts=prompts)
    return np.asarray(PIL.Image.open(path))


def coloured(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where the picture is not grey."""
    difference: NDArray[np.bool_] = np.ptp(picture.astype(int), axis=2) > 40
    return difference


def test_outlines_lie_around_the_mask(tmp_path: Path) -> None:
    """Coloured pixels form a ring at the mask's border, at the picture's scale."""
    image = Image(np.zeros((128, 128), np.uint8))
    picture = drawn(tmp_path / "a.png", image, disc((128, 128), 64, 64, 30))
    assert picture.shape == (512, 512, 3)
    rows, columns = np.nonzero(coloured(picture))
    radii = np.hypot(columns - 257.5, rows - 257.5) / 4
    ring = (np.abs(radii - 30) < 2).mean()
    assert ring > 0.9  # the rest is the number beside it
    assert not coloured(picture)[230:280, 230:280].any()


@pytest.mark.parametrize("aspect", [2.5 / 0.7, 0.5])
def test_pixels_are_drawn_square(tmp_path: Path, aspect: float) -> None:
    """A picture of anisotropic pixels has the proportions of the body; nothing is shrunk."""
    image = Image(np.zeros((133, 512), np.uint8), ImageGeometry(PlaneFrame((0.7, 0.7 * aspect))))
    picture = drawn(tmp_path / "a.png", image, np.zeros((133, 512), np.bool_))
    height, width = picture.shape[:2]
    assert height / width == pytest.approx(133 * aspect / 512, rel=0.01)
    assert height >= 133
    assert width >= 512


def test_boxes_are_drawn_where_they_are(tmp_path: Path) -> None:
    """A box's edges lie at pixel borders, on the picture as in the image."""
    image = Image(np.zeros((128, 128), np.uint8))
    box = Box(19.5, 29.5, 99.5, 59.5)
    picture = drawn(tmp_path / "a.png", image, np.zeros((128, 128), np.bool_), prompts=(Prompt(box=box),))
    rows, columns = np.nonzero(coloured(picture))
    assert (columns.min(), rows.min()) == pytest.approx((20 * 4, 30 * 4), abs=1)
    assert (columns.max(), rows.max()) == pytest.approx((100 * 4, 60 * 4), abs=1)


@pytest.mark.parametrize(("direction", "edge"), [(AXIAL, "left"), (FLIPPED, "right"), (SAGITTAL, ""), (TURNED, "top")])
def test_the_patients_right_is_marked(tmp_path: Path, direction: Matrix3, edge: str) -> None:
    """An R stands at the edge where the patient's right is; sagittal pictures and those without place have none."""
    geometry = ImageGeometry(PatientFrame((0, 0, 0), direction, (1, 1, 1)))
    assert right_edge(geometry) == edge
    assert right_edge(ImageGeometry()) == ""
    image, empty = np.zeros((512, 512), np.uint8), np.zeros((512, 512), np.bool_)
    marked = drawn(tmp_path / "a.png", Image(image, geometry), empty)
    plain = drawn(tmp_path / "b.png", Image(image), empty)
    rows, columns = np.nonzero((marked != plain).any(axis=2))
    if not edge:
        assert rows.size == 0
        return
    where = {"left": columns.max() < 64, "right": columns.min() > 448, "top": rows.max() < 64}
    assert where[edge]


def test_every_picture_says_that_it_is_not_for_diagnosis(tmp_path: Path) -> None:
    """The lower left corner is written on, with one line more where the image is simulated or a mask is empty."""
    pixels, mask = np.zeros((512, 512), np.uint8), disc((512, 512), 256, 200, 20)
    empty = np.zeros((512, 512), np.bool_)

    def lines(image: Image, *masks: NDArray[np.bool_]) -> int:
        corner = drawn(tmp_path / "a.png", image, *masks)[400:, :200].max(axis=2) > 200
        written = corner.any(axis=1)
        return int((np.diff(written.astype(int)) == 1).sum())

    plain = lines(Image(pixels), mask)
    assert plain >= 1
    assert lines(Image(pixels, source=ImageSource(simulated=True)), mask) > plain
    assert lines(Image(pixels), mask, empty) > plain


def test_pictures_of_many_targets_name_those_that_must_not_be_missed(tmp_path: Path) -> None:
    """Up to six targets have a line with their score; of more only those have one where the service abstains."""
    image, mask = Image(np.zeros((512, 512), np.uint8)), disc((512, 512), 256, 100, 20)

    def lines(*masks: PredictedMask) -> int:
        answer = replace(prediction(image.source), masks=tuple((found,) for found in masks))
        write_png(tmp_path / "a.png", image, answer)
        written = (np.asarray(PIL.Image.open(tmp_path / "a.png"))[200:, :300].max(axis=2) > 200).any(axis=1)
        return int((np.diff(written.astype(int)) == 1).sum())

    sure, unsure = predicted(mask, 0.9, 0.8, False), predicted(mask, 0.3, 0.2, True)
    notice = lines(*[sure] * 7)
    assert lines(*[sure] * 6) == notice + 6
    assert lines(*[sure] * 5, unsure, unsure) == notice + 2


def test_grey_levels_are_those_of_the_mapping(tmp_path: Path) -> None:
    """The picture shows the image under the window that was used; colour stays colour."""
    ramp = np.tile(np.arange(-256, 256, dtype=np.int16), (512, 1))
    image = Image(ramp, window=Window(0, 100))
    empty = np.zeros(ramp.shape, np.bool_)
    write_png(tmp_path / "a.png", image, prediction(ImageSource(), empty), mapping=Window(0, 512))
    wide = np.asarray(PIL.Image.open(tmp_path / "a.png"))[100]
    assert wide[0, 0] == 0
    assert wide[256, 0] == pytest.approx(128, abs=1)
    narrow = drawn(tmp_path / "b.png", image, empty)[100]
    assert (narrow[190, 0], narrow[256, 0], narrow[320, 0]) == (0, 128, 255)
    with pytest.raises(InvalidTensor, match="needs uint8"):
        write_png(tmp_path / "c.png", image, prediction(ImageSource(), empty), mapping=Identity())
    red = np.zeros((512, 512, 3), np.uint8)
    red[..., 0] = 200
    assert drawn(tmp_path / "d.png", Image(red), np.zeros((512, 512), np.bool_))[100, 100].tolist() == [200, 0, 0]
