"""Digitally reconstructed radiographs and their derivatives."""

import numpy as np
import pytest
import torch

from hilum.pose import ConeBeam, ParallelBeam, Radiograph
from services.fusion.pose.attenuation import AttenuationVolume, pooled, relative_attenuation
from services.fusion.pose.projection import project
from services.fusion.pose.rays import Rays
from services.fusion.pose.rigid import rotation_matrix
from tests.unit.fusion.pose.rooms import CENTRE, FROM_THE_FRONT, FROM_THE_RIGHT, detector, hounsfield, pose

PIVOT = torch.as_tensor(CENTRE + np.array([4.0, -3.0, 2.0]))
SOURCE = tuple((CENTRE - (0.0, 700.0, 0.0)).tolist())


@pytest.fixture(scope="module")
def volume() -> AttenuationVolume:
    voxels, frame = hounsfield(softness_mm=4.0)
    return AttenuationVolume.of(relative_attenuation(voxels), frame)


def _rays(*, parallel: bool = False, side_px: int = 32, pixel_mm: float = 8.0) -> Rays:
    beam = ParallelBeam((0.0, 1.0, 0.0)) if parallel else ConeBeam(SOURCE)
    frame = detector(FROM_THE_FRONT, side_px=side_px, pixel_mm=pixel_mm)
    return Rays.of(Radiograph(np.zeros((side_px, side_px)), frame, beam), 1)


def _moved(matrix: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """The pose after a turn about the pivot and a shift."""
    step = torch.eye(4, dtype=torch.float64)
    step[:3, :3] = rotation_matrix(change[:3])
    step[:3, 3] = PIVOT + change[3:] - step[:3, :3] @ PIVOT
    return step @ matrix


@pytest.mark.parametrize("parallel", [False, True])
def test_derivatives_agree_with_finite_differences(volume: AttenuationVolume, parallel: bool) -> None:
    """All six derivative images are those that moving the body by a little gives."""
    rays, matrix = _rays(parallel=parallel), torch.as_tensor(pose((3, -4, 5), (6, 8, -7)))
    shown = project(volume, rays, matrix, PIVOT)
    for number, step in enumerate((0.01, 0.01, 0.01, 2.0, 2.0, 2.0)):
        change = torch.zeros(6, dtype=torch.float64)
        change[number] = step
        before, after = (project(volume, rays, _moved(matrix, sign * change), PIVOT).image for sign in (-1, 1))
        found, expected = (after - before) / (2 * step), shown.derivatives[number]
        scale = float(shown.derivatives[number // 3 * 3 : number // 3 * 3 + 3].norm(dim=(1, 2)).max())
        assert float((found - expected).norm()) < 0.12 * scale


def test_a_shift_along_parallel_rays_changes_nothing(volume: AttenuationVolume) -> None:
    """Depth has a derivative of exactly zero under a parallel beam."""
    shown = project(volume, _rays(parallel=True), torch.eye(4, dtype=torch.float64), PIVOT)
    assert float(shown.derivatives[4].abs().max()) < 1e-9
    assert float(shown.derivatives[3].abs().max()) > 1


def test_integrals_have_the_right_length() -> None:
    """A block of water of 60 mm gives 60 mm of water along its short axis."""
    voxels = np.full((40, 50, 60), -1000, np.float32)
    voxels[5:35, 15:35, 10:50] = 0
    _, frame = hounsfield((3.0, 3.0, 4.0))
    straight = type(frame)(
        tuple((CENTRE - (88.5, 73.5, 78)).tolist()), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (3.0, 3.0, 4.0)
    )
    body = AttenuationVolume.of(relative_attenuation(voxels), straight)
    shown = project(body, _rays(parallel=True), torch.eye(4, dtype=torch.float64), PIVOT)
    assert float(shown.image[16, 16]) == pytest.approx(60, rel=0.02)
    assert float(shown.image[0, 0]) == 0


def test_incomplete_rays_are_told() -> None:
    """Where the body is cut off by the volume's end along a ray, its pixel does not count."""
    voxels, frame = hounsfield(softness_mm=4.0)
    cut = AttenuationVolume.of(relative_attenuation(voxels[:, :30]), frame)
    whole = AttenuationVolume.of(relative_attenuation(voxels), frame)
    identity = torch.eye(4, dtype=torch.float64)
    assert bool(project(whole, _rays(), identity, PIVOT).complete.all())
    complete = project(cut, _rays(), identity, PIVOT).complete
    assert not bool(complete[16, 16])
    assert bool(complete[0, 0])


def test_blocks_of_voxels_show_the_same(volume: AttenuationVolume) -> None:
    """Means over blocks, and where their middles lie, leave the picture as it was, up to its fine detail."""
    voxels, frame = hounsfield(softness_mm=4.0)
    coarse = AttenuationVolume.of(*pooled(relative_attenuation(voxels), frame, 8.0))
    identity = torch.eye(4, dtype=torch.float64)
    fine, blurred = (project(each, _rays(), identity, PIVOT).image for each in (volume, coarse))
    assert float((fine - blurred).abs().max()) < 0.12 * float(fine.max())
    mask = fine > 10
    weights = torch.arange(32, dtype=torch.float64)
    for image_axis in (0, 1):
        middles = [(each * mask).sum(dim=image_axis) @ weights / (each * mask).sum() for each in (fine, blurred)]
        assert float((middles[0] - middles[1]).abs()) < 0.1


def test_every_view_has_its_own_rays(volume: AttenuationVolume) -> None:
    """A lateral picture differs from the frontal one: rays come from where the beam says."""
    side = Radiograph(
        np.zeros((32, 32)), detector(FROM_THE_RIGHT, side_px=32, pixel_mm=8.0), ConeBeam(tuple(CENTRE - (700.0, 0, 0)))
    )
    identity = torch.eye(4, dtype=torch.float64)
    lateral = project(volume, Rays.of(side, 1), identity, PIVOT).image
    frontal = project(volume, _rays(), identity, PIVOT).image
    assert float((lateral - frontal).abs().max()) > 20
