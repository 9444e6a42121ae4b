"""examples.click.brain_template: slices of a volume, and made-up contrasts of them, from files as nilearn has them."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from examples.click.brain_template import CONTRASTS, MAPS, SLICES_PER_AXIS, brain_template


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A ball of white matter in a shell of grey matter, in volumes named as the template's."""
    places = np.indices((40, 44, 36)) - np.array([20, 22, 18]).reshape(3, 1, 1, 1)
    radius = np.sqrt((places**2).sum(0))
    white, grey = (radius < 9) * 255, ((radius >= 9) & (radius < 15)) * 255
    t1 = np.where(radius < 9, 220, np.where(radius < 15, 150, 0))
    for name, values in (("t1", t1), ("gm", grey), ("wm", white)):
        volume = nibabel.nifti1.Nifti1Image(values.astype(np.uint8), np.eye(4))  # type: ignore[no-untyped-call]  # nibabel
        volume.to_filename(tmp_path / MAPS[name])
    return tmp_path


def test_every_slice_comes_as_it_is_and_in_other_contrasts(template: Path) -> None:
    """All are for training, without targets; made-up ones say that they are simulated, and differ from each other."""
    samples = list(brain_template(template))
    assert len(samples) == 3 * SLICES_PER_AXIS * (1 + CONTRASTS)
    assert len({sample.name for sample in samples}) == len(samples)
    assert all(sample.split == "train" and not sample.targets and sample.modality == "MR" for sample in samples)
    assert [sample.simulated for sample in samples[:3]] == [False, True, True]
    plain, *others = samples[:3]
    assert set(np.unique(plain.image)) <= {0, 174, 255}
    for other in others:
        assert (other.image > 0).sum() >= 0.9 * (plain.image > 0).sum()
        assert not (other.image[plain.image == 0]).any()
    assert not np.array_equal(others[0].image, others[1].image)


def test_the_same_contrasts_come_again(template: Path) -> None:
    """A second run gives the same pictures: nothing depends on when it is run."""
    first, second = (list(brain_template(template)) for _ in range(2))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))
