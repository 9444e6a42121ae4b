from __future__ import annotations

import numpy as np
import pytest

from examples.demo.ct_volume import LEFT_LUNG, RIGHT_LUNG, SKELETON, CtVolume, Label
from examples.demo.known_motion import KnownMotion, apply
from examples.demo.simulated_xray import (
    ENERGY_KEV,
    PHOTON_SHARE,
    MaterialPaths,
    SimulatedXray,
    simulate_xray,
    transmission,
)
from examples.demo.truth import LungProjection, projected_body, slice_truth
from examples.demo.working_grid import WorkingGrid


@pytest.fixture(scope="module")
def still(volume: CtVolume, paths: MaterialPaths, grid: WorkingGrid) -> SimulatedXray:
    return simulate_xray(volume, paths, grid, KnownMotion(), seed=0)


def test_the_same_seed_takes_the_same_picture(
    volume: CtVolume, paths: MaterialPaths, grid: WorkingGrid, still: SimulatedXray
) -> None:
    """Noise is drawn from the seed alone: equal seeds give equal pixels, another seed gives others."""
    again = simulate_xray(volume, paths, grid, KnownMotion(), seed=0)
    other = simulate_xray(volume, paths, grid, KnownMotion(), seed=1)
    np.testing.assert_array_equal(again.pixels, still.pixels)
    assert (other.pixels != still.pixels).any()


def test_bone_is_bright_and_lung_is_dark(volume: CtVolume, grid: WorkingGrid, still: SimulatedXray) -> None:
    """The spine is brighter than the liver's dome, that brighter than lung, and air beside the body is darkest."""
    spine = grid.resample(volume.path_mm(SKELETON)) > 40
    liver = slice_truth(volume, grid, 218, (Label.LIVER,)) & ~spine
    lungs = [LungProjection.of(volume, lung).field(grid) for lung in (RIGHT_LUNG, LEFT_LUNG)]
    air = ~projected_body(volume, grid)
    medians = [np.median(still.pixels[where]) for where in (spine, liver, lungs[0] | lungs[1], air)]
    assert medians == sorted(medians, reverse=True)
    assert medians[0] - medians[2] > 1000


def test_the_beam_hardens(paths: MaterialPaths) -> None:
    """Twice the bone attenuates less than twice as much: the spectrum has more than one energy."""
    bone = np.array([[0.0, paths.bone.max(), 2 * paths.bone.max()]])
    energy = np.tensordot(ENERGY_KEV * PHOTON_SHARE, transmission(np.zeros_like(bone), bone), axes=1)
    _, once, twice = -np.log(energy / energy[0, 0]).ravel()
    assert once < twice < 1.98 * once


def test_the_moved_picture_shows_the_same_body(
    volume: CtVolume, paths: MaterialPaths, grid: WorkingGrid, still: SimulatedXray
) -> None:
    """Pixels of the still picture carried through the true map land on pixels of nearly the same brightness rank."""
    motion = KnownMotion.from_seed(1)
    moved = simulate_xray(volume, paths, grid, motion, seed=1)
    y, x = np.mgrid[10 : grid.height - 10 : 4, 10 : grid.width - 10 : 4]
    fixed = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)
    target = np.rint(apply(motion.fixed_to_moving(grid), fixed)).astype(int)
    inside = ((target >= 0) & (target < [grid.width, grid.height])).all(axis=1)
    fixed_values = still.pixels[y.ravel()[inside], x.ravel()[inside]]
    moved_values = moved.pixels[target[inside, 1], target[inside, 0]]
    assert np.corrcoef(fixed_values, moved_values)[0, 1] > 0.99


def test_unexposed_pixels_are_shuttered(volume: CtVolume, paths: MaterialPaths, grid: WorkingGrid) -> None:
    """What the beam did not reach is zero and marked as not exposed."""
    moved = simulate_xray(volume, paths, grid, KnownMotion(translation_mm=(28.0, 28.0)), seed=0)
    assert not moved.exposed[:, :19].any()
    assert (moved.pixels[~moved.exposed] == 0).all()
    assert moved.exposed[25:, 25:].all()
    assert (moved.pixels[moved.exposed] > 0).all()


def test_the_picture_says_that_it_is_simulated(still: SimulatedXray) -> None:
    """What is sent to a service is marked as simulated and has square pixels of known size."""
    assert still.image.source.simulated
    assert still.image.geometry.plane_spacing_mm == (1.40625, 1.40625)
