"""Transform files: exact, stable, and refused when altered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum import ImageGeometry, Transform
from hilum.errors import InvalidField
from hilum.geometry import IDENTITY, DetectorFrame, Frame, PatientFrame, PixelFrame, PlaneFrame
from hilum.transform_file import read_transform, write_transform
from tests.unit.drawn_transforms import UNHURRIED, transforms

FLAGS = ("LOW_OVERLAP", "VIEWS_DIFFER")
NUMBER = st.floats(-1e4, 1e4, allow_nan=False)
LENGTH = st.floats(1e-3, 1e3)
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(PatientFrame, st.tuples(NUMBER, NUMBER, NUMBER), st.just(IDENTITY), st.tuples(LENGTH, LENGTH, LENGTH)),
    st.builds(DetectorFrame, st.tuples(LENGTH, LENGTH), st.none() | LENGTH),
    st.builds(PlaneFrame, st.tuples(LENGTH, LENGTH)),
    st.just(PixelFrame()),
)


def transform(flags: tuple[str, ...] = FLAGS) -> Transform:
    patient = PatientFrame((1.1, -2.0, 0.3), IDENTITY, (0.7, 0.7, 2.5), "1.2.3")
    return Transform.from_matrix(
        [[1.01, 0.1, 3 / 7], [-0.1, 0.99, -2.5], [0.0, 0.0, 1.0]],
        (480, 512),
        (300, 200),
        fixed_geometry=ImageGeometry(patient),
        moving_geometry=ImageGeometry(DetectorFrame((0.2, 0.2), 1.3)),
        flags=flags,
        algorithm="affine 1",
    )


@UNHURRIED
@given(st.tuples(NUMBER, NUMBER), st.tuples(FRAMES, FRAMES), st.sets(st.sampled_from(FLAGS)))
def test_a_transform_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, numbers: tuple[float, float], frames: tuple[Frame, Frame], flags: set[str]
) -> None:
    """Matrix, sizes, frames of every kind, flags and id of a written transform are read back exactly."""
    shift, shear = numbers
    fixed, moving = frames
    written = Transform.from_matrix(
        [[1.0, shear, shift], [0.0, 1.0, -shift], [0.0, 0.0, 1.0]],
        (48, 64),
        (32, 16),
        fixed_geometry=ImageGeometry(fixed),
        moving_geometry=ImageGeometry(moving),
        flags=tuple(flags),
    )
    path = tmp_path_factory.mktemp("transforms") / "transform.json"
    write_transform(path, written)
    found = read_transform(path)
    assert found == written
    assert found.transform_id == written.transform_id


@UNHURRIED
@given(drawn=transforms(deformable=True))
def test_displacements_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, drawn: Transform) -> None:
    """The displacement field of a transform, between images or volumes, is read back exactly, with its grid."""
    path = tmp_path_factory.mktemp("transforms") / "transform.json"
    write_transform(path, drawn)
    found = read_transform(path)
    assert found == drawn
    assert found.displacement_field == drawn.displacement_field
    assert found.transform_id == drawn.transform_id


def test_the_file_is_the_contract_in_json(tmp_path: Path) -> None:
    """The file names its fields as the contract does, so that callers of other languages read it."""
    path = tmp_path / "transform.json"
    write_transform(path, transform())
    content = json.loads(path.read_text())
    assert content["flags"] == ["TRANSFORM_FLAG_LOW_OVERLAP", "TRANSFORM_FLAG_VIEWS_DIFFER"]
    assert content["pixel_matrix"][:3] == [1.01, 0.1, 3 / 7]
    assert content["fixed_geometry"]["patient_lps"]["frame_of_reference_uid"] == "1.2.3"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flags", []),
        ("pixel_matrix", [1, 0, 0, 0, 1, 0, 0, 0, 1]),
        ("algorithm", "another"),
        ("fixed_size", {"height_px": 480, "width_px": 511}),
        ("moving_geometry", {"pixel_plane": {}}),
    ],
)
def test_altered_content_is_refused(tmp_path: Path, field: str, value: object) -> None:
    """A flag, number or geometry changed by hand is noticed, and the message says what to do."""
    path = tmp_path / "transform.json"
    write_transform(path, transform())
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(InvalidField, match="was changed since it was written: register the images again"):
        read_transform(path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pixel_matrix": 3}', '{"unknown": 1}', "\xff", "x" * 70_000])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    """What is no transform file is refused by name."""
    path = tmp_path / "other.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InvalidField, match=r"other\.json"):
        read_transform(path)


def test_a_transform_without_its_id_is_refused(tmp_path: Path) -> None:
    """Taking the id away does not let altered content pass."""
    path = tmp_path / "transform.json"
    write_transform(path, transform())
    content = json.loads(path.read_text())
    del content["transform_id"]
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidField, match="has no transform_id"):
        read_transform(path)
