"""Tests of the body in another breath."""

from __future__ import annotations

import numpy as np
import pytest

from examples.demo.breath import STILL_PX, Breath
from examples.demo.ct_volume import CtVolume
from examples.demo.known_warp import mapped, pixel_grid
from examples.demo.simulated_xray import MaterialPaths
from examples.demo.truth import projected_body
from examples.demo.working_grid import WorkingGrid
from hilum.warp import inverted


@pytest.fixture(scope="module")
def breath(volume: CtVolume, paths: MaterialPaths, grid: WorkingGrid) -> Breath:
    return Breath.taken(volume, paths, grid, 1)


def test_points_go_there_and_back(breath: Breath) -> None:
    """Points of the CT's picture come back from the X-ray to where they were."""
    points = pixel_grid((breath.grid.height, breath.grid.width))[::16, ::16]
    np.testing.assert_allclose(breath.moving_to_fixed(breath.fixed_to_moving(points)), points, atol=1e-6)


def test_the_body_bends_in_one_place_only(breath: Breath, volume: CtVolume) -> None:
    """A part of the body bends; in the rest the truth is the motion alone to within half a pixel."""
    body, bent = projected_body(volume, breath.grid), breath.bent
    assert 0.1 < (bent & body).sum() / body.sum() < 0.6
    points = pixel_grid(body.shape)[body & ~bent]
    np.testing.assert_allclose(
        breath.fixed_to_moving(points), mapped(breath.warp.matrix, points), atol=1.1 * breath.warp.scale * STILL_PX
    )


def test_a_breath_is_the_same_on_every_grid(volume: CtVolume, paths: MaterialPaths, breath: Breath) -> None:
    """On a finer grid the same anatomy goes to the same place."""
    finer = WorkingGrid.over(volume, 512)
    other = Breath(breath.warp, breath.reference, finer, breath.xray)
    native = np.array([[120.0, 300.0], [250.0, 200.0]])
    places = []
    for one in (breath, other):
        points = mapped(inverted(one.grid.native_from_grid), native)
        places.append(mapped(one.grid.native_from_grid, one.fixed_to_moving(points)))
    np.testing.assert_allclose(places[0], places[1], atol=1e-6)


def test_the_picture_shows_the_bent_body(breath: Breath, volume: CtVolume, grid: WorkingGrid) -> None:
    """Where the X-ray is dark beside the body, no point of the body goes."""
    body = projected_body(volume, grid)
    y, x = np.rint(breath.fixed_to_moving(pixel_grid(body.shape)[body])).astype(int).T[::-1]
    inside = (x >= 0) & (x < grid.width) & (y >= 0) & (y < grid.height)
    pixels = breath.xray.pixels[y[inside], x[inside]]
    outside = np.ones(body.shape, bool)
    outside[y[inside], x[inside]] = False
    assert np.median(pixels) > 4 * np.median(breath.xray.pixels[outside])
