"""The rules of finding everything in an image: crops, grids, cut masks, duplicates."""

import numpy as np
import pytest

from hilum.generation import crop_regions, grid_side, near_crop_edge, non_duplicates, point_grid
from hilum.region import Region


def test_crops_of_a_small_image() -> None:
    """An image of a few pixels has fewer crops than a layer asks for, and none is empty."""
    crops = crop_regions((3, 2), 2, 0.0)
    assert all(region.width > 0 and region.height > 0 for region, _ in crops)
    assert {layer for _, layer in crops} == {1, 2}


def test_crops_cover_the_image() -> None:
    """The 2^n x 2^n crops of each layer cover every pixel, reach no pixel outside, and overlap."""
    size = (301, 513)
    for layer, count in ((1, 4), (2, 16)):
        covered = np.zeros(size, int)
        crops = [region for region, of in crop_regions(size, 2, 0.25) if of == layer]
        assert len(crops) == count
        for region in crops:
            assert region.x + region.width <= size[1]
            assert region.y + region.height <= size[0]
            covered[region.y : region.y + region.height, region.x : region.x + region.width] += 1
        assert covered.min() == 1
        assert covered.max() == 4


def test_a_grid_of_as_many_points_as_pixels() -> None:
    """With a point for every pixel, every point is the centre of a pixel, row by row."""
    points = point_grid(3, Region(10, 20, 3, 3))
    assert points.tolist() == [[x, y] for y in (20, 21, 22) for x in (10, 11, 12)]


def test_grids_thin_out() -> None:
    """Layer n has the factor to the n fewer points a side, rounded down, and at least one."""
    assert [grid_side(33, 2, layer) for layer in range(7)] == [33, 16, 8, 4, 2, 1, 1]
    assert grid_side(32, 1, 5) == 32


@pytest.mark.parametrize(
    ("bounds", "cut"),
    [
        ((130, 130, 150, 150), False),
        ((115, 130, 150, 150), True),  # 15 px from the crop's left edge
        ((130, 130, 150, 195), True),  # near the crop's last row
        ((120, 130, 150, 150), True),  # at exactly 20 px
        ((121, 130, 150, 150), False),
    ],
)
def test_masks_near_an_inner_edge(bounds: tuple[int, int, int, int], cut: bool) -> None:
    """A mask within 20 px of an edge of its crop may be cut off."""
    assert near_crop_edge(bounds, Region(100, 100, 100, 100), (400, 400)) is cut


def test_masks_at_the_images_edge_are_whole() -> None:
    """Near an edge that crop and image share nothing is cut off."""
    assert not near_crop_edge((0, 0, 50, 50), Region(0, 0, 100, 100), (400, 400))
    assert not near_crop_edge((350, 350, 399, 399), Region(300, 300, 100, 100), (400, 400))


def test_duplicates_go_the_best_stays() -> None:
    """Of boxes that overlap more than the threshold the best is kept, best first; others stay."""
    boxes = [(0, 0, 10, 10), (0, 0, 10, 9), (50, 50, 60, 60), (0, 0, 4, 4)]
    assert non_duplicates(boxes, [0.5, 0.9, 0.7, 0.1], 0.7) == [1, 2, 3]
    assert non_duplicates(boxes, [0.5, 0.9, 0.7, 0.1], 0.1) == [1, 2]


def test_equal_scores_keep_their_order() -> None:
    """Of duplicates with equal scores the first is kept."""
    assert non_duplicates([(0, 0, 10, 10), (0, 0, 10, 10), (20, 0, 30, 10)], [1.0, 1.0, 1.0], 0.7) == [0, 2]


def test_lines_are_no_duplicates() -> None:
    """A mask of one pixel or one line has a box without area and duplicates nothing, as in segment-anything."""
    assert non_duplicates([(5, 5, 5, 5), (5, 5, 5, 5), (0, 3, 9, 3)], [1.0, 1.0, 1.0], 0.0) == [0, 1, 2]


def test_nothing_to_compare() -> None:
    """Without boxes none is kept."""
    assert non_duplicates([], [], 0.7) == []
