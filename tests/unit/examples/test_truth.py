from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.demo.ct_volume import LEFT_LUNG, RIGHT_LUNG, CtVolume, Label
from examples.demo.known_motion import KnownMotion
from examples.demo.truth import (
    LungProjection,
    body_mask,
    jittered_box,
    largest_component,
    middle_click,
    slice_of_largest_area,
    slice_truth,
)
from examples.demo.working_grid import WorkingGrid
from hilum.types import Point


def test_organs_lie_on_their_side_of_the_picture(volume: CtVolume, grid: WorkingGrid) -> None:
    """The liver is on the image's left; the heart's larger part is right of the spine, on the patient's left."""
    depth = slice_of_largest_area(volume, (Label.LIVER,))
    liver_x = np.nonzero(slice_truth(volume, grid, depth, (Label.LIVER,)))[1].mean()
    heart_x = np.nonzero(slice_truth(volume, grid, depth, (Label.HEART,)))[1].mean()
    assert liver_x < grid.width / 2 - 20
    assert heart_x > grid.width / 2 + 20


def test_lung_fields_are_apart_and_clear_of_the_heart(volume: CtVolume, grid: WorkingGrid) -> None:
    """Right and left field do not overlap, are one piece each, and leave out the projected heart."""
    right, left = (LungProjection.of(volume, lung).field(grid) for lung in (RIGHT_LUNG, LEFT_LUNG))
    heart = grid.resample(volume.path_mm((Label.HEART,))) > 10
    assert not (right & left).any()
    assert np.nonzero(right)[1].mean() < np.nonzero(left)[1].mean()
    for field in (right, left):
        assert field.sum() * grid.spacing_mm**2 > 10_000
        assert not (field & heart).any()
        np.testing.assert_array_equal(field, largest_component(field))


def test_lung_field_moves_with_the_body(volume: CtVolume, grid: WorkingGrid) -> None:
    """Translating the body by whole pixels translates the field by as many."""
    projection = LungProjection.of(volume, RIGHT_LUNG)
    motion = KnownMotion(translation_mm=(5 * grid.spacing_mm, 3 * grid.spacing_mm))
    moved = projection.field(grid, motion.moving_to_fixed(grid))
    np.testing.assert_array_equal(moved[3:, 5:], projection.field(grid)[:-3, :-5])


def test_body_leaves_out_the_table(volume: CtVolume) -> None:
    """The body holds every labelled voxel and nothing of the table, which is bright at its foot end."""
    body = body_mask(volume)
    assert body[volume.labels > 0].mean() > 0.999
    table = volume.hounsfield[450:, 80:] > -300
    assert table.sum() > 10_000
    assert not body[450:, 80:][table].any()


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(0, 40), st.integers(1, 30), st.integers(1, 30))
def test_jitter_stays_within_five_pixels_and_the_image(seed: int, top: int, left: int, height: int, width: int) -> None:
    """Every edge lies within 5 px of the mask's edge, inside the image, and the seed alone decides where."""
    mask = np.zeros((64, 72), dtype=np.bool_)
    mask[top : top + height, left : left + width] = True
    rows, columns = np.nonzero(mask)
    edges = np.array([columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5])
    box = np.array(astuple(jittered_box(mask, seed)))
    assert (np.abs(box - edges) <= 5).all()
    assert (box >= -0.5).all()
    assert (box <= [71.5, 63.5, 71.5, 63.5]).all()
    assert jittered_box(mask, seed) == jittered_box(mask, seed)


def test_an_empty_mask_has_no_box() -> None:
    """Asking for the box of an empty mask is an error, not a box."""
    with pytest.raises(ValueError, match="empty"):
        jittered_box(np.zeros((8, 8), dtype=np.bool_), 0)


def test_a_user_clicks_in_the_middle() -> None:
    """The click lies on the pixel farthest from the mask's outline; an empty mask has no middle."""
    mask = np.zeros((20, 30), dtype=np.bool_)
    mask[4:15, 6:17] = True
    mask[9, 17:28] = True
    assert middle_click(mask) == Point(11.0, 9.0)
    with pytest.raises(ValueError, match="no middle"):
        middle_click(np.zeros((8, 8), dtype=np.bool_))
