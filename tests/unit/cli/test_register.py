"""`hilum register` and `hilum fuse`: what is decided on this side of the wire."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from hilum import Box, Image, ImageGeometry, Prompt, TargetPair, Transform
from hilum.cli.checkerboard import centred, checkerboard
from hilum.cli.modality import with_modality
from hilum.cli.picture import write_picture
from hilum.cli.register import target_pairs
from hilum.cli.registration_report import FLAGS, flag_lines, registration_report
from hilum.codec.transforms import FLAG_NAMES
from hilum.geometry import PatientFrame, PlaneFrame
from hilum.transform_file import write_transform
from hilum.types import DeformationReport, Fusion, Registration, StageReport, TargetReport
from tests.unit.cli.conftest import Command

BOX, OTHER = Box(1, 2, 3, 4), Box(5, 6, 7, 8)
SIDES = st.integers(8, 600)
SPACING = st.tuples(st.floats(0.1, 5), st.floats(0.1, 5))


def grey(height: int, width: int, spacing: tuple[float, float] | None = None) -> Image:
    geometry = ImageGeometry() if spacing is None else ImageGeometry(PlaneFrame(spacing))
    return Image(np.zeros((height, width), np.uint8), geometry)


def test_targets_are_pairs_in_order() -> None:
    """The n-th box in the fixed image belongs to the n-th in the moving one; one without a partner is refused."""
    assert target_pairs([BOX, OTHER], [OTHER, BOX]) == [
        TargetPair(Prompt(box=BOX), Prompt(box=OTHER)),
        TargetPair(Prompt(box=OTHER), Prompt(box=BOX)),
    ]
    with pytest.raises(typer.BadParameter):
        target_pairs([BOX], [])


def test_every_flag_of_the_contract_is_explained() -> None:
    """Each quality flag has its meaning in words, and one of a newer contract is not hidden."""
    assert set(FLAGS) == FLAG_NAMES
    assert flag_lines(()) == ["no quality flags"]
    assert "FLAG NEW" in flag_lines(("NEW",))[0]


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), SPACING, SPACING)
def test_centres_lie_on_centres_true_to_scale(
    size: tuple[int, int],
    moving_size: tuple[int, int],
    spacing: tuple[float, float],
    moving_spacing: tuple[float, float],
) -> None:
    """Before registration the middle of one image lies on that of the other, and a mm is a mm in both."""
    (height, width), (moving_height, moving_width) = size, moving_size
    fixed, moving = grey(height, width, spacing), grey(moving_height, moving_width, moving_spacing)
    transform = centred(fixed, moving)
    middle, along_x = transform.apply([[(width - 1) / 2, (height - 1) / 2], [(width + 1) / 2, (height - 1) / 2]])
    assert middle == pytest.approx([(moving_width - 1) / 2, (moving_height - 1) / 2], abs=1e-6)
    assert (along_x - middle) * moving_spacing == pytest.approx([spacing[0], 0], abs=1e-6)


def test_without_spacing_both_show_the_same_field_of_view() -> None:
    """An image of half the pixels is taken to be as large as the other."""
    transform = centred(grey(100, 200), grey(50, 100, (0.5, 0.5)))
    assert transform.matrix[:2, :2] == pytest.approx(np.eye(2) / 2)


def test_a_checkerboard_alternates_and_shows_what_there_is() -> None:
    """Tiles alternate between the images; where the moving one has no pixels the fixed one is shown."""
    fixed, moving = np.full((80, 160), 10, np.uint8), np.full((80, 160), 200, np.uint8)
    coverage = np.ones((80, 160), bool)
    coverage[:, 100:] = False
    board = checkerboard(Fusion(fixed, fixed, moving, coverage, ()))
    assert (board[0, 0], board[0, 20], board[20, 0], board[20, 20]) == (10, 200, 200, 10)
    assert (board[:, 100:] == 10).all()


def test_the_report_names_loss_flags_stages_and_targets() -> None:
    """What was found, and how far it can be trusted, is told in full."""
    mask = np.ones((4, 4), bool)
    registration = Registration(
        Transform.from_matrix(np.eye(3), (4, 4), (4, 4), flags=("LOW_OVERLAP",), algorithm="affine"),
        0.25,
        0.125,
        0.4,
        (StageReport("search", True, 0.5, 0.75), StageReport("affine", False, 0.75, 0.7)),
        (TargetReport(0.5, 0.9, mask, mask),),
        12.0,
        Transform.from_matrix(np.eye(3), (4, 4), (4, 4)),
        0.05,
        DeformationReport(0.0, 0.75, 1.5, 0.1),
        (1.25,),
    )
    page = StringIO()
    Console(width=200, file=page, highlight=False).print(registration_report(registration))
    told = page.getvalue()
    for words in (
        "match loss 0.2500 before, 0.1250 after",
        "FLAG LOW_OVERLAP: the images share less than half",
        "Dice 0.500 before, 0.900 after",
        "covers 40%",
        "areas change by a factor of 0.75 to 1.50, 0.00% folds; the inverse misses by at most 0.05 px",
        "landmark 1: 1.25 px after",
        "Not for diagnosis.",
    ):
        assert words in told
    assert ["affine", "no", "0.7500", "0.7000"] in [line.split() for line in told.splitlines()]


def page_of(path: Path) -> NDArray[np.uint8]:
    with PIL.Image.open(path) as page:
        return np.asarray(page)


def test_pictures_carry_their_words(tmp_path: Path) -> None:
    """Pictures stand side by side, in full, above a band that is not empty."""
    levels = np.random.default_rng(0).integers(0, 255, (2, 390, 400), dtype=np.uint8)
    write_picture(tmp_path / "x.png", list(levels), ["FLAG one"])
    page = page_of(tmp_path / "x.png")
    assert (page[:390, :400] == levels[0]).all()
    assert (page[:390, -400:] == levels[1]).all()
    assert page.shape[0] > 390
    assert page[390:].max() > 200


def test_small_pictures_are_enlarged(tmp_path: Path) -> None:
    """A picture that is hard to see is drawn larger, in its proportions."""
    write_picture(tmp_path / "x.png", [np.full((48, 96), 100, np.uint8)])
    assert (page_of(tmp_path / "x.png")[:384, :768] == 100).all()


def test_pictures_have_square_pixels_and_the_patients_right(tmp_path: Path) -> None:
    """A coronal slice of 1 x 3 mm pixels is drawn three times as high, with an R on the side of the patient's right."""
    hung = PatientFrame((0, 0, 0), ((1, 0, 0), (0, 0, 1), (0, -1, 0)), (1.0, 3.0, 1.0))
    write_picture(tmp_path / "x.png", [np.zeros((200, 500), np.uint8)], geometry=ImageGeometry(hung))
    page = page_of(tmp_path / "x.png")[:600]
    assert page.shape == (600, 500)
    assert page[:, :40].max() == 255
    assert page[:, 40:].max() == 0


@pytest.fixture
def pair(picture: Path) -> list[Path]:
    """A picture, twice."""
    return [picture, picture]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--view", "sideways", "--out", "t.json"], "sideways"),
        (["--view", "comparable"], "--out"),
        (["--view", "comparable", "--out", "t.txt"], "ends in .json, .png"),
        (["--view", "comparable", "--out", "t.json", "--fixed-mapping", "bones"], "bones"),
        (["--view", "comparable", "--out", "t.json", "--target-box-fixed", "1,1,9,9"], "give pairs"),
        (["--view", "comparable", "--out", "t.json", "--transform-model", "elastic"], "elastic"),
        (["--view", "comparable", "--out", "t.json", "--landmark", "1,2,3"], "X,Y,X,Y"),
        (["--view", "comparable", "--out", "t.json", "--landmark", "1,2,3,9999"], "outside the image"),
        (["--view", "comparable", "--out", "t.json", "--stiffness", "2"], "DEFORMABLE only"),
        (["--view", "comparable", "--out", "t.json", "--initial", "missing.json"], "missing.json"),
        (["--view", "comparable", "--out", "t.json", "--fixed-modality", "C-T"], "such as CT"),
    ],
)
def test_wrong_options_are_usage_errors(hilum: Command, pair: list[Path], options: list[str], words: str) -> None:
    """What cannot be understood is refused with 2 before anything is sent."""
    outcome = hilum("register", *pair, *options)
    assert outcome.code == 2
    assert words in outcome.complaint


def test_the_option_names_a_modality_that_the_file_does_not_say() -> None:
    """A picture's modality is what the option says; a file that says its own keeps it, and no option overrules it."""
    picture = grey(4, 5)
    assert with_modality(picture, "", "--fixed-modality") is picture
    ct = with_modality(picture, "ct", "--fixed-modality")
    assert ct.source.modality == "CT"
    assert with_modality(ct, "CT", "--fixed-modality").source.modality == "CT"
    with pytest.raises(typer.BadParameter, match="the file says that it is CT"):
        with_modality(ct, "DX", "--fixed-modality")


def test_an_altered_transform_is_not_used(hilum: Command, pair: list[Path], tmp_path: Path) -> None:
    """A transform file from which the flag was removed is refused on this side, with 1."""
    path = tmp_path / "transform.json"
    write_transform(path, Transform.from_matrix(np.eye(3), (200, 300), (200, 300), flags=("LOW_OVERLAP",)))
    path.write_text(path.read_text().replace('"TRANSFORM_FLAG_LOW_OVERLAP"', ""))
    outcome = hilum("fuse", *pair, "--transform", path, "--out", tmp_path / "fused.png")
    assert outcome.code == 1
    assert "was changed since it was written" in outcome.err


def test_an_unknown_flag_is_a_usage_error(hilum: Command, pair: list[Path], tmp_path: Path) -> None:
    """--accept-flag takes the contract's names only."""
    path = tmp_path / "transform.json"
    write_transform(path, Transform.from_matrix(np.eye(3), (200, 300), (200, 300)))
    outcome = hilum("fuse", *pair, "--transform", path, "--out", tmp_path / "fused.png", "--accept-flag", "ANY")
    assert outcome.code == 2
    assert "VIEWS_DIFFER" in outcome.complaint
