"""Tests of how alike volumes are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from services.fusion.stepping import finished
from services.fusion.volume_registration.agreement import Agreement
from services.fusion.volume_registration.alignment import Alignment
from services.fusion.volume_registration.similarity import eroded, mind_ssc, orientation_tensor, seen, slopes, smoothed
from tests.unit.fusion.volume_registration.bodies import body, other_modality, pair


def test_descriptors_ignore_brightness_and_contrast() -> None:
    """MIND-SSC and orientations of a volume do not change when it is inverted, scaled and shifted."""
    voxels = torch.from_numpy(body(24))
    ones = torch.ones_like(voxels)
    assert mind_ssc(voxels).shape == (12, 24, 24, 24)
    assert torch.allclose(mind_ssc(voxels), mind_ssc(3.0 - 2.0 * voxels), atol=1e-3)
    assert torch.allclose(orientation_tensor(voxels, ones), orientation_tensor(1.0 - voxels, ones), atol=1e-4)


def test_descriptors_turn_with_the_volume() -> None:
    """Exchanging two axes of a volume exchanges channels and axes of its descriptors, and adds none."""
    voxels = torch.from_numpy(body(16))
    straight, turned = mind_ssc(voxels), mind_ssc(voxels.transpose(0, 2).contiguous()).transpose(1, 3)
    for channel in turned:
        assert min(float((channel - other).abs().max()) for other in straight) < 1e-5


def test_smoothing_and_slopes_of_a_ramp() -> None:
    """A ramp keeps its values, but at the edge, when smoothed; its slope is the same everywhere."""
    z, y, x = torch.meshgrid(*(torch.arange(7.0) for _ in range(3)), indexing="ij")
    ramp = 2 * x - y + 3 * z
    inner = (slice(1, -1),) * 3
    assert torch.allclose(smoothed(ramp)[inner], ramp[inner])
    assert torch.allclose(slopes(ramp)[:, 1:-1, 1:-1, 1:-1], torch.tensor([2.0, -1.0, 3.0])[:, None, None, None])


def test_erosion() -> None:
    """A voxel stays where its whole neighbourhood is in the mask; outside of the volume nothing is."""
    mask = torch.ones(9, 9, 9, dtype=torch.bool)
    mask[4, 4, 4] = False
    left = eroded(mask, 1)
    assert left[2, 2, 2] == 1
    assert left[3, 3, 3] == 0
    assert left[0].sum() == 0


def test_only_what_both_show_is_seen() -> None:
    """Shifted by half a canvas, only the half that the moving volume covers has weight."""
    shift = torch.eye(4, dtype=torch.float64)
    shift[0, 3] = 1.0
    voxels = body(32)
    moved, weight = finished(seen(pair(voxels, voxels), Alignment(shift)))
    assert weight[:, :, :12].any()
    assert not weight[:, :, 13:].any()
    np.testing.assert_allclose(moved[:, :, :15], voxels[:, :, 16:31], atol=1e-5)


def test_agreement_falls_with_a_slip() -> None:
    """Two modalities of one body agree best where they are in place, and stand out there; noise does not."""
    voxels = body(32)
    agreement = Agreement(pair(voxels, other_modality(voxels)))
    assert finished(agreement.distinctness(Alignment.identity())) > 0.1
    noise = np.random.default_rng(5).normal(size=voxels.shape).astype(np.float32)
    assert finished(Agreement(pair(voxels, noise)).distinctness(Alignment.identity())) < 0.02
    assert agreement.of(Alignment.identity()) > agreement.of(Alignment(Alignment.identity().matrix @ _shift(1.99))) == 0
    same = Agreement(pair(voxels, voxels)).of(Alignment.identity())
    assert same == pytest.approx(1.0, abs=0.02)


def _shift(along: float) -> torch.Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[2, 3] = along
    return matrix


@given(st.integers(0, 3), st.integers(0, 100))
@settings(deadline=None, max_examples=20)
def test_eroding(margin: int, seed: int) -> None:
    """What is eroded is what a cube around it erodes; beyond the volume there is nothing."""
    mask = np.random.default_rng(seed).random((9, 10, 11)) < 0.98
    side = 2 * margin + 1
    wanted = ndimage.binary_erosion(mask, np.ones((side,) * 3))
    assert np.array_equal(eroded(torch.from_numpy(mask), margin).numpy() > 0, wanted)
