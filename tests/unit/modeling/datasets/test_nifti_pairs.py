"""modeling.datasets.nifti_pairs: slices of volumes with their labels."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hilum.errors import InvalidField, UnreadableImage
from hilum.planes import PLANES, PlaneName
from hilum.types import BoolMask, Identity, Window
from modeling.datasets.nifti_pairs import read_nifti_pairs
from modeling.sample import CollectionError, Sample, Target

# (x to the patient's right, y to anterior, z to superior): voxel numbers run to left, to anterior, to superior (LAS).
# nibabel is typed in parts only.
nifti: Any = nibabel
orientations: Any = nibabel.orientations

SHAPE = (12, 10, 8)
LAS = np.diag([-2.0, 2.0, 2.0, 1.0])
SHIFTED = np.asarray([[-2.0, 0, 0, 1], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])  # by 1 mm
CODES = st.permutations([("L", "R"), ("A", "P"), ("S", "I")]).flatmap(
    lambda axes: st.tuples(*(st.sampled_from(axis) for axis in axes))
)


def labels() -> NDArray[np.uint8]:
    """Label 1 in the patient's left, posterior and inferior corner, label 2 opposite; index 0 is right."""
    values = np.zeros(SHAPE, np.uint8)
    values[8:12, 0:3, 0:3] = 1
    values[0:4, 6:10, 4:8] = 2
    return values


def write(path: Path, values: NDArray[Any], codes: tuple[str, ...] = (), affine: Any = LAS, code: int = 1) -> Path:
    """Writes a volume whose voxels are stored in the order of axis codes such as ("R", "A", "S")."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nifti.Nifti1Image(values, affine)
    if codes:
        image = image.as_reoriented(
            orientations.ornt_transform(orientations.io_orientation(affine), orientations.axcodes2ornt(codes))
        )
    image.set_sform(image.affine, code)
    image.set_qform(image.affine, code)
    image.header.set_xyzt_units("mm")
    nifti.save(image, path)
    return path


def read(path: Path, **options: Any) -> list[Sample]:
    """Reads labels as grey levels, so that pictures can be compared with targets."""
    return list(read_nifti_pairs(path, mapping=Identity(), min_area_px=1, **options))


def mask_of(target: Target) -> BoolMask:
    """A target's mask, which it has."""
    assert target.mask is not None
    return target.mask


def same(left: list[Sample], right: list[Sample]) -> bool:
    """Whether samples have the same pictures and targets."""
    return len(left) == len(right) and all(
        np.array_equal(one.image, other.image)
        and [target.label for target in one.targets] == [target.label for target in other.targets]
        and all(np.array_equal(mask_of(a), mask_of(b)) for a, b in zip(one.targets, other.targets, strict=True))
        for one, other in zip(left, right, strict=True)
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CODES, CODES, st.sampled_from(PLANES))
def test_the_order_of_voxels_does_not_matter(
    tmp_path: Path, codes: tuple[str, ...], others: tuple[str, ...], plane: PlaneName
) -> None:
    """However volume and labels are stored, each in its own orientation, the samples are the same."""
    for name, volume_codes, label_codes in (("plain", (), ()), ("turned", codes, others)):
        write(tmp_path / name / "v.nii", labels(), volume_codes)
        write(tmp_path / name / "v_seg.nii", labels(), label_codes)
    assert same(read(tmp_path / "plain", plane=plane), read(tmp_path / "turned", plane=plane))


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_the_patients_right_is_on_the_left(tmp_path: Path, plane: PlaneName) -> None:
    """Label 1, in the patient's left, is on the right of axial and coronal pictures, label 2 on the left."""
    write(tmp_path / "v.nii.gz", labels())
    write(tmp_path / "v_label.nii.gz", labels())
    for sample in read(tmp_path, plane=plane):
        for target in sample.targets:
            assert (target.box.x_min > sample.size[1] / 2) == (target.label == "label 1")
            assert np.array_equal(sample.image == int(target.label[-1]), mask_of(target))


@pytest.mark.parametrize(
    ("volume", "label"),
    [
        ("v.nii.gz", "v_seg.nii.gz"),
        ("v.nii", "v_mask.nii.gz"),
        ("v.nii.gz", "labels/v.nii.gz"),
        ("images/v.nii.gz", "labels/v_seg.nii"),
        ("imagesTr/v.nii.gz", "labelsTr/v.nii.gz"),
    ],
)
def test_pairs_are_found_by_name(tmp_path: Path, volume: str, label: str) -> None:
    """Labels lie beside the volume with an ending, or in a folder of labels."""
    write(tmp_path / volume, labels())
    write(tmp_path / label, labels())
    samples = read(tmp_path)
    assert len(samples) == 7
    assert {(sample.patient, sample.source, sample.modality) for sample in samples} == {("v", tmp_path.name, "OT")}


def test_slices_are_chosen(tmp_path: Path) -> None:
    """Every k-th slice is taken; targets below the least area, and slices without any, are left out."""
    write(tmp_path / "v.nii", labels())
    write(tmp_path / "v_seg.nii", labels())
    assert [sample.name for sample in read(tmp_path, every=2)] == [f"v-axial-{k:04d}" for k in (0, 2, 4, 6)]
    large = list(read_nifti_pairs(tmp_path, mapping=Identity(), min_area_px=13, names={2: "liver"}))
    assert [target.label for sample in large for target in sample.targets] == ["liver"] * 4


def test_pixels_become_square(tmp_path: Path) -> None:
    """Slices of 2 mm x 5 mm pixels are resampled to 2 mm, labels to the nearest: no value comes into being."""
    affine = np.diag([-2.0, 2.0, 5.0, 1.0])
    write(tmp_path / "v.nii", (labels() * 100).astype(np.int16), affine=affine)
    write(tmp_path / "v_seg.nii", labels(), affine=affine)
    for sample in read_nifti_pairs(tmp_path, plane="coronal", mapping=Window(100, 200), min_area_px=1):
        assert sample.size == (20, 12)
        assert sample.spacing_mm == (2.0, 2.0)
        assert {target.label for target in sample.targets} <= {"label 1", "label 2"}
        assert all(mask_of(target).sum() in (4 * 7, 4 * 8, 4 * 10) for target in sample.targets)


def test_patients_may_be_listed(tmp_path: Path) -> None:
    """A list beside the volumes names the patients."""
    write(tmp_path / "v.nii", labels())
    write(tmp_path / "v_seg.nii", labels())
    (tmp_path / "patients.csv").write_text("image,patient\nv,p1\n")
    assert {sample.patient for sample in read(tmp_path)} == {"p1"}


def test_volumes_without_labels_are_refused(tmp_path: Path) -> None:
    """No volumes, or one without labels, is an error that says what name is looked for."""
    with pytest.raises(CollectionError, match="no volumes"):
        read(tmp_path)
    write(tmp_path / "v.nii", labels())
    with pytest.raises(CollectionError, match=r"v\.nii: it has no label volume: name one v_seg\.nii\.gz"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("values", "options", "reason"),
    [
        (labels()[:-1], {}, r"8, 10, 11.* voxels"),
        (labels(), {"affine": SHIFTED}, "beside its volume"),
        (labels(), {"code": 0}, "left and right"),
        (labels() * np.float32(0.5), {}, "whole numbers"),
    ],
)
def test_labels_of_another_grid_are_refused(
    tmp_path: Path, values: NDArray[Any], options: dict[str, Any], reason: str
) -> None:
    """Labels on another grid, without orientation, or that are no labels are refused by their file's name."""
    write(tmp_path / "v.nii", labels())
    write(tmp_path / "v_seg.nii", values, **options)
    with pytest.raises(CollectionError, match=rf"v_seg\.nii: .*{reason}"):
        read(tmp_path)


def test_bad_files_and_options_are_refused(tmp_path: Path) -> None:
    """A damaged file, an unknown plane and a step of 0 are typed errors."""
    write(tmp_path / "v.nii", labels())
    (tmp_path / "v_seg.nii").write_bytes(b"none")
    with pytest.raises(UnreadableImage, match=r"v_seg\.nii"):
        read(tmp_path)
    with pytest.raises(InvalidField, match="plane"):
        read(tmp_path, plane="oblique")
    with pytest.raises(InvalidField, match="every"):
        read(tmp_path, every=0)


def test_a_ct_with_organs(shared_data: Path, tmp_path: Path) -> None:
    """In the sample CT the liver (5) is on the left of a coronal picture, the spleen (1) on the right."""
    folder = shared_data / "ct_kidney_stones"
    (tmp_path / "ct.nii.gz").symlink_to(folder / "ct_full.nii.gz")
    (tmp_path / "ct_seg.nii.gz").symlink_to(folder / "seg_full_fast_model.nii.gz")
    samples = read_nifti_pairs(tmp_path / "ct.nii.gz", plane="coronal", every=20, mapping=Window(40, 400))
    boxes = {target.label: target.box for sample in samples for target in sample.targets}
    assert boxes["label 5"].x_max < boxes["label 1"].x_min
