"""Local correlation, its slope and its curvature."""

import numpy as np
import torch

from services.fusion.pose.correlation import Agreement, agreement
from services.fusion.pose.projection import ProjectedVolume
from services.fusion.pose.rays import Rays

SIDE = 40
RANDOM = torch.Generator().manual_seed(5)
IMAGE = (
    torch.nn.functional.avg_pool2d(torch.randn(1, SIDE + 4, SIDE + 4, generator=RANDOM).double(), 5, stride=1)[0] * 50
)
SLOPES = torch.nn.functional.avg_pool2d(torch.randn(6, SIDE + 4, SIDE + 4, generator=RANDOM).double(), 5, stride=1) * 5
TRUE = torch.ones(SIDE, SIDE, dtype=torch.bool)


def _rays(image: torch.Tensor, valid: torch.Tensor = TRUE) -> Rays:
    nothing = torch.zeros(SIDE * SIDE, 3, dtype=torch.float64)
    return Rays(image, valid, nothing, nothing, nothing[:, 0], nothing[0])


def _shown(offset: torch.Tensor, complete: torch.Tensor = TRUE) -> ProjectedVolume:
    """A picture that depends on six numbers by the slopes."""
    return ProjectedVolume(IMAGE + torch.einsum("i,ihw->hw", offset, SLOPES), SLOPES, complete)


def _at(offset: list[float], seen: torch.Tensor) -> Agreement:
    return agreement(_shown(torch.tensor(offset).double()), _rays(seen))


def test_brightness_and_contrast_do_not_count() -> None:
    """A picture agrees fully with itself, however bright and contrasty, and not with its negative or with noise."""
    y = torch.arange(SIDE, dtype=torch.float64)[:, None] / SIDE
    assert _at([0] * 6, IMAGE).similarity > 0.97
    assert _at([0] * 6, 300 + (2 + y) * IMAGE).similarity > 0.95
    assert _at([0] * 6, -IMAGE).similarity < -0.9
    assert abs(_at([0] * 6, torch.randn(SIDE, SIDE, generator=RANDOM).double()).similarity) < 0.2


def test_gradient_agrees_with_finite_differences() -> None:
    """The slope of the sum of correlations is that of small steps."""
    seen = IMAGE + 0.5 * SLOPES[0] - 0.3 * SLOPES[4] + 3 * torch.randn(SIDE, SIDE, generator=RANDOM).double()
    here = _at([0.1, 0, 0, 0, 0.2, 0], seen)
    for number in range(6):
        totals = []
        for sign in (-1, 1):
            offset = [0.1, 0, 0, 0, 0.2, 0]
            offset[number] += sign * 1e-4
            totals.append(_at(offset, seen).total)
        found = (totals[1] - totals[0]) / 2e-4
        np.testing.assert_allclose(found, float(here.gradient[number]), atol=1e-4 * float(here.gradient.abs().max()))


def test_curvature_is_that_of_the_top() -> None:
    """Near full agreement the curvature predicts how fast agreement falls."""
    top = _at([0] * 6, IMAGE)
    for number in range(6):
        ahead, back = [0.0] * 6, [0.0] * 6
        ahead[number], back[number] = 0.2, -0.2
        fall = top.total - (_at(ahead, IMAGE).total + _at(back, IMAGE).total) / 2
        assert 0.9 < fall / (0.02 * float(top.curvature[number, number])) < 1.1
    assert bool((torch.linalg.eigvalsh(top.curvature) > 0).all())


def test_only_whole_windows_count() -> None:
    """Windows that touch an unexposed pixel or an incomplete ray are left out, and the share of the rest is told."""
    left = torch.ones(SIDE, SIDE, dtype=torch.bool)
    left[:, SIDE // 2 :] = False
    spoiled = torch.where(left, IMAGE, 1000.0)
    kept = agreement(_shown(torch.zeros(6).double(), left), _rays(spoiled))
    assert kept.similarity > 0.9
    assert 0.3 < kept.coverage < 0.5
    assert agreement(_shown(torch.zeros(6).double()), _rays(spoiled, left)).coverage == 1


def test_nothing_to_compare_is_no_agreement() -> None:
    """A constant picture, and rays of which none is complete, have a similarity of 0 and no slope."""
    for case in (
        _at([0] * 6, torch.zeros(SIDE, SIDE).double()),
        agreement(_shown(torch.zeros(6).double(), ~TRUE), _rays(IMAGE)),
    ):
        assert case.similarity == 0
        assert float(case.gradient.abs().max()) == 0
