"""Tests of cases: real CT, synthetic stone, simulated X-ray, and the truth about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples.demo.ct_volume import Label
from examples.stones.case import Case
from examples.stones.patient import Patient, abdomen


@pytest.fixture(scope="module")
def patient(shared_data: Path) -> Patient:
    return abdomen(shared_data / "ct_kidney_stones")


@pytest.fixture(scope="module", params=[0, 1, 2])
def case(patient: Patient, request: pytest.FixtureRequest) -> Case:
    return Case.drawn(patient, request.param)


def test_only_a_kidney_is_changed(case: Case) -> None:
    """The CT differs from the patient's own inside the kidneys alone, where no real stone lies."""
    before = case.patient.volume
    changed = case.volume.hounsfield != before.hounsfield
    assert changed.any()
    assert before.mask((Label.KIDNEY_RIGHT, Label.KIDNEY_LEFT))[changed].all()
    assert before.hounsfield[changed].max() <= 200


def test_rays_meet_the_stone_where_the_truth_says(case: Case) -> None:
    """The mass that the stone adds along the rays is centred on its true place in the CT's picture."""
    paths = case.placed.on_rays(case.patient.volume, case.patient.paths)
    added = case.patient.grid.resample(paths.bone - case.patient.paths.bone)
    rows, columns = np.indices(added.shape)
    centre = np.array([(columns * added).sum(), (rows * added).sum()]) / added.sum()
    np.testing.assert_allclose(centre, case.ct_px, atol=0.5)


def test_the_click_is_on_the_stone(case: Case) -> None:
    """The click's pixel belongs to the stone's outline in the slice."""
    point = case.prompt.points[0]
    assert case.outline[round(point.y), round(point.x)]


def test_a_seed_gives_the_same_case(patient: Patient, case: Case) -> None:
    """Everything follows from the seed."""
    again = Case.drawn(patient, case.seed)
    np.testing.assert_array_equal(again.xray.pixels, case.xray.pixels)
    assert again.prompt == case.prompt
