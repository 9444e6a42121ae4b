"""Everything that was found, written: one number per mask in all files, the largest first and the smallest on top."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from hilum.errors import FrameNotSupported, InvalidField
from hilum.generation import GeneratedMask, Generation, GenerationParameters
from hilum.geometry import ImageGeometry, PatientFrame
from hilum.masks import bounding_box
from hilum.results.generation import generation_report, write_generation_report
from hilum.results.generation_png import write_generation_png
from hilum.results.nifti import write_generation_nifti
from hilum.types import Box, Image, ImageSource, Point
from tests.unit.results.conftest import DECODER_REVISION, ENCODER_REVISION, MODEL, disc

SIZE = (128, 128)
IN_PATIENT = ImageGeometry(PatientFrame((0, 0, 0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (0.5, 0.5, 1)))
SMALL, LARGE, APART = disc(SIZE, 40, 40, 8), disc(SIZE, 40, 40, 25), disc(SIZE, 100, 40, 12)


def generation(*masks: NDArray[np.bool_], source: ImageSource = ImageSource()) -> Generation:
    """Masks as generate_masks returns them, the surest first."""
    whole = Box(-0.5, -0.5, SIZE[1] - 0.5, SIZE[0] - 0.5)
    found = []
    for rank, mask in enumerate(masks):
        box = bounding_box(mask)
        assert box is not None
        score = 0.99 - rank / 1000
        found.append(GeneratedMask(mask, int(mask.sum()), box, score, 0.96, Point(box.x_min, box.y_min), whole))
    parameters = GenerationParameters(points_per_side=4)
    return Generation(tuple(found), MODEL, ENCODER_REVISION, DECODER_REVISION, parameters, source)


def drawn(path: Path, image: Image, *masks: NDArray[np.bool_]) -> NDArray[np.int_]:
    """The picture's pixels (height, width, 3)."""
    write_generation_png(path, image, generation(*masks, source=image.source))
    return np.asarray(PIL.Image.open(path)).astype(np.int_)


def test_the_report_has_every_mask_and_what_made_it(tmp_path: Path) -> None:
    """Masks are numbered from the largest and measured in mm where those are known; model and parameters are named."""
    source = ImageSource("1.2.3", simulated=True)
    image = Image(np.zeros(SIZE, np.uint8), IN_PATIENT, source=source)
    found = generation(SMALL, LARGE, APART, source=source)
    write_generation_report(tmp_path / "x.json", image, found)
    content = json.loads((tmp_path / "x.json").read_text())
    assert content == json.loads(json.dumps(generation_report(image, found)))
    assert content["notice"] == "not for diagnosis"
    assert content["source"]["simulated"] is True
    assert content["model"] == {
        "name": MODEL,
        "encoder_revision": ENCODER_REVISION,
        "decoder_revision": DECODER_REVISION,
    }
    assert content["parameters"]["points_per_side"] == 4
    assert content["parameters"]["pred_iou_thresh"] == 0.88
    assert [mask["number"] for mask in content["masks"]] == [1, 2, 3]
    assert [mask["area_px"] for mask in content["masks"]] == [int(mask.sum()) for mask in (LARGE, APART, SMALL)]
    assert [mask["model_score"] for mask in content["masks"]] == pytest.approx([0.989, 0.988, 0.99])
    assert content["masks"][0]["area_mm2"] == pytest.approx(LARGE.sum() / 4)
    assert content["masks"][0]["bounding_box_px"] == [14.5, 14.5, 65.5, 65.5]
    assert content["masks"][0]["crop_box_px"] == [-0.5, -0.5, 127.5, 127.5]


def test_labels_of_smaller_masks_lie_on_top(tmp_path: Path) -> None:
    """In NIfTI the numbers are the report's, and a small mask inside a large one has its voxels."""
    image = Image(np.zeros(SIZE, np.uint8), IN_PATIENT)
    write_generation_nifti(tmp_path / "x.nii.gz", image, generation(SMALL, LARGE, APART))
    read: Any = nibabel.load(tmp_path / "x.nii.gz")
    labels = np.asarray(read.dataobj)[:, :, 0].T
    assert (labels == 3).sum() == SMALL.sum()
    assert (labels[LARGE & ~SMALL] == 1).all()
    assert (labels[APART] == 2).all()
    assert (labels[~(LARGE | APART)] == 0).all()
    assert bytes(read.header["descrip"]).decode().startswith(f"not for diagnosis; {MODEL}")
    with pytest.raises(FrameNotSupported):
        write_generation_nifti(tmp_path / "x.nii.gz", Image(np.zeros(SIZE, np.uint8)), generation(SMALL))


def test_the_picture_is_filled_translucently_and_outlined_thinly(tmp_path: Path) -> None:
    """The image shows through every fill, no pixel outside is touched, and outlines are one pixel wide, all seen."""
    ramp = np.tile(np.arange(128, dtype=np.uint8), (128, 1))
    picture, plain = drawn(tmp_path / "a.png", Image(ramp), SMALL, LARGE), drawn(tmp_path / "b.png", Image(ramp))
    inside = np.kron(LARGE, np.ones((4, 4), np.bool_))
    changed = (picture != plain).any(axis=2)
    changed[400:] = False  # the words
    assert not changed[~inside].any()
    assert changed[inside].all()
    between, within = picture[70:80, 162], picture[150:175, 162]
    assert (between == between[0]).all()
    assert (within == within[0]).all()
    assert (between[0] != within[0]).any()
    assert (np.diff(picture[162, 140:180, 2]) >= 0).all()
    middle = picture[:, 162]
    edges = np.flatnonzero((middle[:300, 0] > 200) & changed[:300, 162])
    assert edges.size == 2
    assert edges.tolist() == [15 * 4, 66 * 4 - 1]


def test_every_mask_has_a_colour_of_its_own(tmp_path: Path) -> None:
    """A hundred masks side by side are filled with a hundred colours."""
    masks = []
    for number in range(100):
        mask = np.zeros(SIZE, np.bool_)
        row, column = 4 * (number // 20), 6 * (number % 20)
        mask[row : row + 4, column : column + 6] = True
        masks.append(mask)
    picture = drawn(tmp_path / "a.png", Image(np.full(SIZE, 90, np.uint8)), *masks)
    middles = picture[8:80:16, 12:480:24].reshape(-1, 3)
    assert len(middles) == 100
    assert len(np.unique(middles, axis=0)) == 100


def test_the_picture_says_what_readers_must_know(tmp_path: Path) -> None:
    """Not for diagnosis and how many masks, simulated where it applies, and an R at the patient's right."""
    pixels = np.zeros((512, 512), np.uint8)

    def written(image: Image) -> NDArray[np.bool_]:
        bright: NDArray[np.bool_] = drawn(tmp_path / "a.png", image).max(axis=2) > 200
        return bright

    def lines(image: Image) -> int:
        rows = written(image)[400:, :200].any(axis=1)
        return int((np.diff(rows.astype(int)) == 1).sum())

    plain = lines(Image(pixels))
    assert plain == 2
    assert lines(Image(pixels, source=ImageSource(simulated=True))) == 3
    marked = written(Image(pixels, IN_PATIENT)) & ~written(Image(pixels))
    assert 0 < np.nonzero(marked)[1].max() < 64


def test_masks_of_another_image_are_refused(tmp_path: Path) -> None:
    """No file is written of masks that are not of the image's size."""
    image = Image(np.zeros((40, 60), np.uint8), IN_PATIENT)
    for write in (write_generation_png, write_generation_report, write_generation_nifti):
        with pytest.raises(InvalidField, match="generation"):
            write(tmp_path / "x", image, generation(SMALL))
    assert not (tmp_path / "x").exists()
