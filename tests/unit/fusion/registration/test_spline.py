"""Tests of cubic B-splines."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.fusion.registration.spline import ORDER, bending_form, spline_basis, subdivided

positions = st.lists(st.floats(-1, 1), min_size=1, max_size=20).map(lambda x: torch.tensor(x, dtype=torch.float64))
intervals = st.integers(1, 12)


@given(positions, intervals)
@settings(deadline=None)
def test_splines_add_up_to_one(x: torch.Tensor, count: int) -> None:
    """At every position the splines are not negative and add up to one, so equal control points make a constant."""
    basis = spline_basis(x, count)
    assert basis.shape == (len(x), count + ORDER)
    assert (basis >= -1e-15).all()
    assert torch.allclose(basis.sum(dim=1), torch.ones(len(x), dtype=torch.float64))


@given(positions, intervals)
@settings(deadline=None)
def test_control_points_on_a_line_make_a_line(x: torch.Tensor, count: int) -> None:
    """Control points that rise evenly make that very line: the first lies one interval before -1."""
    control = -1.0 + (torch.arange(count + ORDER, dtype=torch.float64) - 1.0) * 2.0 / count
    assert torch.allclose(spline_basis(x, count) @ control, x, atol=1e-12)


@given(intervals, st.integers(0, 1000), st.sampled_from([1, 2]))
@settings(deadline=None)
def test_derivatives_agree_with_differences(count: int, seed: int, derivative: int) -> None:
    """A derivative is the limit of differences of the one below."""
    generator = torch.Generator().manual_seed(seed)
    control = torch.rand(count + ORDER, generator=generator, dtype=torch.float64)
    x = torch.rand(9, generator=generator, dtype=torch.float64) * 1.9 - 0.95
    step = 1e-6
    ahead, behind = (spline_basis(x + sign * step, count, derivative - 1) @ control for sign in (1, -1))
    assert torch.allclose(
        (ahead - behind) / (2 * step), spline_basis(x, count, derivative) @ control, rtol=1e-3, atol=1e-3 * count**2
    )


@given(st.integers(1, 6), st.integers(0, 1000))
@settings(deadline=None)
def test_subdivision_keeps_the_function(count: int, seed: int) -> None:
    """Twice as many intervals describe the very same function."""
    generator = torch.Generator().manual_seed(seed)
    control = torch.rand(count + ORDER, count + ORDER, generator=generator, dtype=torch.float64)
    x = torch.linspace(-1, 1, 17, dtype=torch.float64)
    coarse, fine = spline_basis(x, count), spline_basis(x, 2 * count)
    assert torch.allclose(coarse @ control @ coarse.T, fine @ subdivided(control) @ fine.T, atol=1e-12)


def test_bending_energy_is_the_mean_of_squared_second_derivatives() -> None:
    """The form gives what a sum over a fine grid gives, nothing for planes, and never less than nothing."""
    generator = torch.Generator().manual_seed(0)
    count = 5
    control = torch.rand(count + ORDER, count + ORDER, generator=generator, dtype=torch.float64)
    x = (2.0 * torch.arange(400, dtype=torch.float64) + 1.0) / 400 - 1.0
    value, slope, curve = (spline_basis(x, count, derivative) for derivative in range(3))
    expected = (
        (value @ control @ curve.T).square()
        + 2.0 * (slope @ control @ slope.T).square()
        + (curve @ control @ value.T).square()
    ).mean()
    form, flat = bending_form(count), control.flatten()
    assert float(flat @ form @ flat) == pytest.approx(float(expected), rel=1e-3)
    row, column = torch.meshgrid(*(torch.arange(count + ORDER, dtype=torch.float64),) * 2, indexing="ij")
    plane = (2.0 * row - 3.0 * column + 1.0).flatten()
    assert float(plane @ form @ plane) == pytest.approx(0.0, abs=1e-9)
    assert torch.linalg.eigvalsh(form).min() > -1e-9
