"""modeling.teacher: sure masks of a model's own boxes, and bright things in annotators' boxes."""

import numpy as np

from hilum.serving.bundle import Bundle
from hilum.types import Box, Prompt
from modeling.evaluation.in_process import BundlePredictor, ImageEncoder
from modeling.sample import Sample, tight_box
from modeling.teacher import LARGEST_OVERLAP, bright_part, sure_masks


def test_a_bright_stone_in_a_loose_box_is_outlined() -> None:
    """Otsu's threshold between box and margin finds the stone; fainter things beside it are left out."""
    random = np.random.default_rng(0)
    image = random.integers(60, 90, (60, 60)).astype(np.uint8)
    stone = np.zeros((60, 60), np.bool_)
    stone[20:28, 30:40] = True
    image[stone] = 220
    found = bright_part(image, Box(27.5, 16.5, 43.5, 31.5))
    np.testing.assert_array_equal(found, stone)


def test_a_trained_model_teaches_what_it_is_sure_of(lite_medsam_bundle: Bundle) -> None:
    """What LiteMedSAM teaches of discs, it says again when asked for it; each once, and nothing outside the image."""
    rows, columns = np.mgrid[:180, :256]
    image = np.full((180, 256), 40, np.uint8)
    discs = [(columns - x) ** 2 + (rows - y) ** 2 <= r**2 for x, y, r in ((60, 60, 30), (180, 110, 45))]
    for disc in discs:
        image[disc] = 200
    encoder = ImageEncoder(lite_medsam_bundle)
    teacher = BundlePredictor(lite_medsam_bundle, encoder)
    teacher.set_image(Sample("discs", image, (), "test", "OT", "none"))
    found = sure_masks(teacher, encoder(image), np.random.default_rng(1), boxes=32, kept=6)
    assert 1 <= len(found) <= 6
    assert not any(mask[180:].any() for mask in found)
    for number, mask in enumerate(found):
        assert all((mask & other).sum() / (mask | other).sum() < LARGEST_OVERLAP for other in found[:number])
    again = teacher.predict([Prompt(box=tight_box(mask)) for mask in found]).low_res[:, 0] > 0
    overlaps = [(m & o).sum() / (m | o).sum() for m, o in zip(found, again, strict=True)]
    assert float(np.mean(overlaps)) > 0.5


def test_nothing_is_taught_where_nothing_is_wanted(lite_medsam_bundle: Bundle) -> None:
    """With no room for masks the teacher is not even asked."""
    encoder = ImageEncoder(lite_medsam_bundle)
    teacher = BundlePredictor(lite_medsam_bundle, encoder)
    image = np.zeros((32, 32), np.uint8)
    assert sure_masks(teacher, encoder(image), np.random.default_rng(0), boxes=8, kept=0) == []
