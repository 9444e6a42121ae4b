"""Tests of drawing volumes onto canvases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from hilum.errors import NoContent
from hilum.geometry import PatientFrame
from services.fusion.stepping import finished
from services.fusion.volume_registration.canvas import RegistrationVolume, draw
from services.fusion.volume_registration.workspace import Workspace
from tests.unit.fusion.volume_registration.bodies import FRAME, SIDE, body, volume


def test_directions_do_not_matter() -> None:
    """A volume stored along other axes in another order is drawn as the same canvas: only its place counts."""
    voxels = body()
    turned = np.ascontiguousarray(voxels.transpose(1, 2, 0)[::-1])
    # Its x index runs along LPS z, its y along x, and its slices against y.
    last = np.add(FRAME.origin_mm, (0, (SIDE - 1) * FRAME.spacing_mm[1], 0))
    frame = PatientFrame(
        (float(last[0]), float(last[1]), float(last[2])), ((0, 1, 0), (0, 0, -1), (1, 0, 0)), FRAME.spacing_mm
    )
    workspace = Workspace(volume(voxels), RegistrationVolume(turned, frame))
    finished(workspace.draw())
    pair = workspace.at(32)
    assert torch.allclose(pair.fixed.voxels, pair.moving.voxels, atol=1e-4)
    np.testing.assert_allclose(workspace.in_place().matrix, np.eye(4), atol=1e-9)


def test_a_voxel_lands_where_working_space_says() -> None:
    """A bright voxel of a volume with long, few slices is the brightest of the canvas at its place in working space."""
    voxels = np.zeros((12, 50, 60), np.float32)
    voxels[8, 20, 40] = 1.0
    frame = PatientFrame((3.0, -4.0, 5.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), (2.0, 2.0, 6.0))
    fixed = RegistrationVolume(voxels, frame)
    workspace = Workspace(fixed, fixed)
    drawn = finished(draw(fixed, workspace.working_from_fixed, 64))
    index = np.unravel_index(int(drawn.voxels.argmax()), drawn.voxels.shape)
    found = (2 * np.array(index[::-1]) + 1) / 64 - 1
    wanted = (workspace.working_from_fixed @ (40, 20, 8, 1))[:3]
    assert np.abs(found - wanted).max() < 2 / 64
    # 12 slices of 6 mm do not fill a cube of 120 mm.
    assert not drawn.valid[:12].any()
    assert drawn.valid[20:44].any()


def test_padding_is_left_out() -> None:
    """Padding bleeds into no voxel beside it, and is not valid."""
    voxels = body()
    voxels[:, :, :10] = -2000
    padded = RegistrationVolume(voxels, FRAME, padding_value=-2000)
    drawn = finished(draw(padded, Workspace(volume(body()), volume(body())).working_from_fixed, 64))
    assert float(drawn.voxels.min()) > -1
    assert not drawn.valid[:, :, :14].any()
    assert drawn.valid[20:40, 20:40, 20:40].all()


def test_coarse_volumes_get_coarse_canvases() -> None:
    """A canvas is not finer than what is drawn on it needs."""
    assert Workspace(volume(body(40)), volume(body(40))).finest == 32
    assert Workspace(volume(body(41)), volume(body(78))).finest == 64
    assert Workspace(volume(body(100)), volume(body(40))).finest == 128


@pytest.mark.parametrize("voxels", [np.full((9, 9, 9), 7, np.int16), np.full((9, 9, 9), np.nan)])
def test_nothing_to_see(voxels: np.ndarray) -> None:
    """A volume of one value, or of none, is refused by name."""
    with pytest.raises(NoContent) as refused:
        finished(RegistrationVolume(voxels, FRAME).check("registration.fixed"))
    assert refused.value.field == "registration.fixed"


def test_a_large_volume_is_drawn_in_slabs_as_it_would_be_at_once() -> None:
    """Of a volume of several slabs, cut across either axis, the canvas is that of the volume blurred as a whole."""
    voxels = np.random.default_rng(0).normal(size=(150, 160, 170)).astype(np.float32)
    large = RegistrationVolume(voxels, FRAME)
    assert all(len(large.slabs(axis)) > 1 for axis in (0, 1))
    workspace = Workspace(large, large)
    size = 32
    drawn = finished(draw(large, workspace.working_from_fixed, size))
    low, high = np.percentile(voxels, (1, 99))
    steps = 2 / size / np.diag(workspace.working_from_fixed)[:3]
    blurred = ndimage.gaussian_filter((voxels - low) / (high - low), 0.4 * (steps[::-1] - 1), mode="nearest")
    places = (2 * np.indices((size,) * 3) + 1) / size - 1
    scale, offset = np.diag(workspace.working_from_fixed)[:3], workspace.working_from_fixed[:3, 3]
    inside = (places - offset[::-1, None, None, None]) / scale[::-1, None, None, None]
    wanted = ndimage.map_coordinates(blurred, inside, order=1, mode="nearest")
    np.testing.assert_allclose(drawn.voxels.numpy(), wanted, atol=2e-3)
