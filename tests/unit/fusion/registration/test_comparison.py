"""Tests of the comparisons that steps are taken from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from services.fusion.registration.comparison import (
    Compare,
    compare_distances,
    compare_edge_strength,
    compare_gradients,
    compare_information,
    compare_mind,
    compare_structure,
)
from services.fusion.registration.gauss_newton import normal_fields
from tests.unit.fusion.phantoms import body_phantom, motion, moved, other_modality

BLIND = [compare_structure, compare_mind, compare_gradients, compare_information]
ALL = [*BLIND, compare_edge_strength]
SIZE = 96
ONES = torch.ones(SIZE, SIZE)


def picture() -> Tensor:
    return torch.from_numpy(body_phantom(SIZE))


def slipped(shift: float) -> Tensor:
    return torch.from_numpy(moved(body_phantom(SIZE), motion((SIZE, SIZE), shift=(shift, 0.0))))


@pytest.mark.parametrize("compare", BLIND)
def test_similarity_peaks_where_modalities_align(compare: Compare) -> None:
    """Seen in another modality, the picture is most similar in place."""
    comparer = compare(picture(), ONES)

    def similarity(shift: float) -> float:
        return comparer(torch.from_numpy(other_modality(slipped(shift).numpy())), ONES).similarity

    assert similarity(0.0) > similarity(2.0) > similarity(6.0)


@pytest.mark.parametrize("compare", ALL)
def test_forces_point_back_where_the_picture_came_from(compare: Compare) -> None:
    """Slipped to the right, pixels ask to sample further right, by no more than about as much as they slipped."""
    comparison = compare(picture(), ONES)(slipped(1.0), ONES)
    (xx, xy, yy), forces = normal_fields(comparison)
    matrix = torch.stack([torch.stack([xx.sum(), xy.sum()]), torch.stack([xy.sum(), yy.sum()])])
    step = torch.linalg.solve(matrix, forces.sum(dim=(1, 2))) * SIZE / 2
    assert 0.2 < float(step[0]) < 1.7
    assert abs(float(step[1])) < 0.3


@pytest.mark.parametrize("compare", ALL)
def test_residuals_are_the_derivative_of_the_similarity(compare: Compare) -> None:
    """A small change of the channels changes the similarity as weights and residuals say."""
    comparer = compare(picture(), ONES)
    before, after = (comparer(slipped(shift), ONES) for shift in (0.995, 1.005))
    here = comparer(slipped(1.0), ONES)
    predicted = float((2 * here.weight * here.residual * (after.channels - before.channels)).sum())
    assert predicted == pytest.approx(after.similarity - before.similarity, rel=0.15)


@pytest.mark.parametrize("compare", ALL)
def test_pixels_without_weight_ask_for_nothing(compare: Compare) -> None:
    """Where the weight is zero there is no force."""
    weight = ONES.clone()
    weight[:, 40:] = 0.0
    comparison = compare(picture(), ONES)(slipped(1.0), weight)
    pull = comparison.weight * comparison.residual
    assert pull[:, :, 40:].abs().max() == 0.0
    assert pull[:, :, :40].abs().max() > 0.0


@pytest.mark.parametrize("compare", [compare_structure, compare_mind, compare_gradients, compare_edge_strength])
def test_nothing_is_similar_without_overlap(compare: Compare) -> None:
    """Where no pixel has weight the similarity is zero, never perfect."""
    assert compare(picture(), ONES)(picture(), torch.zeros_like(ONES)).similarity == 0.0


def test_distances_agree_only_where_outlines_do() -> None:
    """Equal outlines have nothing left; others fall below zero, and far from both nothing counts."""
    fixed = torch.from_numpy(np.clip((10.0 - np.hypot(*(np.indices((32, 32)) - 16.0))) / 10.0, -1, 1))[None].float()
    moving = torch.roll(fixed, 4, dims=2)
    compare, weight = compare_distances(fixed), torch.ones(32, 32)
    assert compare(fixed, weight).similarity == 0.0
    comparison = compare(moving, weight)
    assert comparison.similarity < 0.0
    assert float(comparison.weight[0, 0, 0]) == 0.0
    assert compare(moving, torch.zeros(32, 32)).similarity == 0.0
