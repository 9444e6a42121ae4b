"""modeling.datasets.folder: pictures with masks beside them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from hilum.errors import UnreadableImage
from hilum.types import Window
from modeling.datasets.folder import read_folder
from modeling.sample import CollectionError

SIZE = (12, 16)


def disc(value: int = 255, *, row: int = 3) -> NDArray[np.uint8]:
    """A mask of SIZE with a block of 20 pixels."""
    mask = np.zeros(SIZE, np.uint8)
    mask[row : row + 4, 5:10] = value
    return mask


def write(path: Path, pixels: NDArray[Any]) -> Path:
    """Writes a picture and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of one image, a.png, without masks."""
    write(tmp_path / "images" / "a.png", np.full(SIZE, 7, np.uint8))
    (tmp_path / "masks").mkdir()
    return tmp_path


def test_masks_are_labelled_by_their_names(folder: Path) -> None:
    """IMAGE_label_000.png are targets of that label, without the number; a mask of the image's own name is "target"."""
    for name in ("a_left_kidney_000", "a_left_kidney_001", "a_rib_9", "a_2", "a"):
        write(folder / "masks" / f"{name}.png", disc())
    (sample,) = read_folder(folder, source="s", modality="CT")
    assert [target.label for target in sample.targets] == ["target", "target", "left_kidney", "left_kidney", "rib_9"]
    assert all(target.mask is not None and target.mask.sum() == 20 for target in sample.targets)
    assert (sample.name, sample.source, sample.modality, sample.patient) == ("a", "s", "CT", "a")
    assert (sample.image == 7).all()


def test_a_mask_belongs_to_the_longest_stem(folder: Path) -> None:
    """Of the images a and a_1, the mask a_1_liver belongs to a_1, and ab.png is not taken for a mask of a."""
    write(folder / "images" / "a_1.png", np.zeros(SIZE, np.uint8))
    write(folder / "masks" / "a_1_liver.png", disc())
    assert [len(sample.targets) for sample in read_folder(folder)] == [0, 1]
    write(folder / "masks" / "ab.png", disc())
    with pytest.raises(CollectionError, match=r"ab\.png: its name begins with no image's stem"):
        list(read_folder(folder))


def test_each_value_is_a_target(folder: Path) -> None:
    """A mask of several values holds a target per value, named where names are given; an empty mask holds none."""
    write(folder / "masks" / "a.png", disc(1) + disc(3, row=8))
    write(folder / "masks" / "a_cell.png", disc(1) + disc(2, row=8))
    write(folder / "masks" / "a_bone.png", disc(0))
    (sample,) = read_folder(folder, names={3: "spleen"})
    assert [target.label for target in sample.targets] == ["label 1", "spleen", "cell 1", "cell 2"]


def test_palettes_hold_label_values(folder: Path) -> None:
    """A mask with a palette is read as its indices, not as colours."""
    picture = PillowImage.fromarray(disc(2)).convert("P")
    picture.putpalette([0, 0, 0, 90, 0, 0, 0, 200, 0])
    picture.putdata(disc(2).ravel().tolist())
    picture.save(folder / "masks" / "a.png")
    (sample,) = read_folder(folder)
    assert [target.label for target in sample.targets] == ["label 2"]


def test_jpeg_masks_are_black_and_white(folder: Path) -> None:
    """A JPEG mask is one target, however its compression smeared the edges."""
    write(folder / "masks" / "a.jpg", disc())
    (sample,) = read_folder(folder)
    assert [target.label for target in sample.targets] == ["target"]


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros((3, 4), np.uint8), "3x4 pixels .* its image 12x16"),
        (np.dstack([disc(), disc() // 2, disc()]), "in colours"),
        (np.arange(192, dtype=np.uint8).reshape(SIZE), "191 values"),
    ],
)
def test_masks_that_cannot_be_meant_are_refused(folder: Path, mask: NDArray[np.uint8], reason: str) -> None:
    """A mask of another size, in colours or in grey levels is refused by its name."""
    write(folder / "masks" / "a.png", mask)
    with pytest.raises(CollectionError, match=rf"a\.png: .*{reason}"):
        list(read_folder(folder))


def test_files_that_are_no_pictures_are_refused(folder: Path) -> None:
    """A damaged mask or image is one typed error that names the file."""
    (folder / "masks" / "a.png").write_bytes(b"none")
    with pytest.raises(UnreadableImage, match=r"a\.png"):
        list(read_folder(folder))


def test_two_images_of_one_stem_are_refused(folder: Path) -> None:
    """Images that differ in their suffix only would share masks and a name."""
    write(folder / "images" / "a.bmp", np.zeros(SIZE, np.uint8))
    with pytest.raises(CollectionError, match=r"a\.bmp and a\.png"):
        list(read_folder(folder))


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    """No pictures is an error, not an empty data set."""
    with pytest.raises(CollectionError, match="no pictures"):
        list(read_folder(tmp_path))


def test_deep_images_go_through_the_mapping(tmp_path: Path) -> None:
    """Sixteen-bit pictures become grey levels by the window."""
    write(tmp_path / "images" / "a.png", np.full(SIZE, 1000, np.uint16))
    (sample,) = read_folder(tmp_path, mapping=Window(1000, 510))
    assert sample.image.dtype == np.uint8
    assert set(np.unique(sample.image)) <= {127, 128}


def test_ct_organs(shared_data: Path) -> None:
    """The SAM-Med2D sample reads as 5 images with 30 targets, each of the size of its image."""
    samples = list(read_folder(shared_data / "ct_organs_2d", modality="CT"))
    assert len(samples) == 5
    assert sum(len(sample.targets) for sample in samples) == 30
    assert {"liver", "inferior_vena_cava", "lung_upper_lobe_left", "rib_left_9"} <= {
        target.label for sample in samples for target in sample.targets
    }
