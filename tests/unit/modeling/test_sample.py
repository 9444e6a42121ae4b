"""modeling.sample: collections written and read again, and refused where they are wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from hilum.types import Box
from modeling.sample import CollectionError, Sample, Target, mask_target, read_collection, tight_box, write_collection


def _sample(name: str, split: str = "test", colour: bool = False) -> Sample:
    random = np.random.default_rng(len(name))
    image = random.integers(0, 256, (20, 30, 3) if colour else (20, 30)).astype(np.uint8)
    mask = np.zeros((20, 30), np.bool_)
    mask[3:9, 4:15] = True
    targets = (mask_target("liver", mask), Target("stone", None, Box(1.5, 2.5, 8.25, 9.0)))
    return Sample(name, image, targets, "source", "CT", "patient", split, (0.7, 0.8), simulated=colour)  # type: ignore[arg-type]


def test_a_collection_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Images, masks, boxes and everything said of them survive; splits are kept apart."""
    written = [_sample("a", "train"), _sample("bb", "test", colour=True)]
    write_collection(tmp_path, written)
    for sample, read in zip(written, read_collection(tmp_path), strict=True):
        np.testing.assert_array_equal(read.image, sample.image)
        for target, other in zip(sample.targets, read.targets, strict=True):
            assert (target.label, target.box, target.mask is None) == (other.label, other.box, other.mask is None)
            if target.mask is not None and other.mask is not None:
                np.testing.assert_array_equal(target.mask, other.mask)
        for field in ("name", "source", "modality", "patient", "split", "spacing_mm", "simulated"):
            assert getattr(read, field) == getattr(sample, field)
    assert [sample.name for sample in read_collection(tmp_path, ["train"])] == ["a"]


def test_the_tight_box_has_its_edges_at_pixel_borders() -> None:
    """A mask's box reaches half a pixel beyond its outermost pixels; an empty mask has none."""
    mask = np.zeros((5, 6), np.bool_)
    mask[1:3, 2:5] = True
    assert tight_box(mask) == Box(1.5, 0.5, 4.5, 2.5)
    with pytest.raises(ValueError, match="empty"):
        tight_box(np.zeros((5, 6), np.bool_))


@pytest.mark.parametrize("damage", ["no index", "not JSON", "no samples", "file missing", "mask of another size"])
def test_a_damaged_collection_is_refused_with_its_file(tmp_path: Path, damage: str) -> None:
    """The error names the index, and what in it is wrong."""
    write_collection(tmp_path, [_sample("a"), _sample("bb")])
    index = tmp_path / "index.json"
    if damage == "no index":
        index.unlink()
    elif damage == "not JSON":
        index.write_text("{")
    elif damage == "no samples":
        index.write_text("[]")
    elif damage == "file missing":
        (tmp_path / "images" / "a.png").unlink()
    else:
        known = json.loads(index.read_text())
        known["samples"][0]["targets"][0]["mask"] = "images/tall.png"
        write_collection(tmp_path / "other", [])
        from PIL import Image as PillowImage  # noqa: PLC0415

        PillowImage.fromarray(np.full((7, 7), 255, np.uint8)).save(tmp_path / "images" / "tall.png")
        index.write_text(json.dumps(known))
    with pytest.raises(CollectionError, match=r"index\.json"):
        list(read_collection(tmp_path))


def test_two_samples_of_one_name_are_refused(tmp_path: Path) -> None:
    """One would overwrite the other's file: nothing is indexed, and the name is said."""
    with pytest.raises(CollectionError, match="'a'"):
        write_collection(tmp_path, [_sample("a"), _sample("a", colour=True)])
    assert not (tmp_path / "index.json").exists()
