"""What the views see, from the curvature."""

import numpy as np
import torch

from services.fusion.pose.observability import Observability, complement
from services.fusion.pose.scene import Fit


def _fit(curvatures: list[float], scatters: list[float], axes: torch.Tensor | None = None) -> Fit:
    turn = torch.eye(6, dtype=torch.float64) if axes is None else axes
    curvature = turn @ torch.diag(torch.tensor(curvatures).double()) @ turn.T
    scatter = turn @ torch.diag(torch.tensor(scatters).double()) @ turn.T
    return Fit((), 0.7, 100.0, torch.zeros(6).double(), curvature, scatter)


def test_all_is_seen() -> None:
    """Six directions of like curvature are all seen, with standard errors of scatter over curvature."""
    seen = Observability.of(_fit([10, 20, 20, 30, 30, 40], [4, 4, 9, 9, 16, 16]))
    assert seen.unseen == ()
    np.testing.assert_allclose(seen.standard_errors_mm, sorted([0.2, 0.1, 0.15, 0.1, 4 / 30, 0.1]))
    assert seen.seen_basis().shape == (6, 6)


def test_a_flat_direction_is_not_seen_at_all() -> None:
    """Along a direction without curvature nothing is known: no number stands for its error."""
    axes = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)).double())[0]
    seen = Observability.of(_fit([1e-9, 20, 20, 30, 30, 40], [1, 4, 9, 9, 16, 16], axes))
    (flat,) = seen.unseen
    assert flat.standard_error_mm is None
    assert abs(float(flat.motion @ axes[:, 0])) > 1 - 1e-9
    assert float((seen.seen_basis().T @ axes[:, 0]).abs().max()) < 1e-9


def test_a_vague_direction_is_named_with_its_error() -> None:
    """A standard error far above those of the other directions counts as not seen."""
    seen = Observability.of(_fit([1, 20, 20, 30, 30, 40], [4, 4, 9, 9, 16, 16]))
    (vague,) = seen.unseen
    assert vague.standard_error_mm is not None
    np.testing.assert_allclose(vague.standard_error_mm, 2.0)


def test_what_was_held_stays_held_exactly() -> None:
    """An unseen direction near the one that was held gives way to it; a held one that is seen is released."""
    axes = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)).double())[0]
    seen = Observability.of(_fit([1e-9, 20, 20, 30, 30, 40], [1, 4, 9, 9, 16, 16], axes))
    held = axes[:, 0] * np.cos(0.6) + axes[:, 1] * np.sin(0.6)
    assert seen.hides(held)
    assert not seen.hides(axes[:, 3])
    np.testing.assert_allclose(seen.seen_basis(held).T @ held, np.zeros(5), atol=1e-12)
    assert float((seen.seen_basis(axes[:, 3]).T @ axes[:, 0]).abs().max()) < 1e-9


def test_without_curvature_nothing_is_seen() -> None:
    """Pictures without structure fix nothing."""
    assert len(Observability.of(_fit([0] * 6, [0] * 6)).unseen) == 6


def test_complements_are_at_right_angles() -> None:
    """The complement of directions is an orthonormal basis of everything else."""
    directions = list(torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(2)).double())[0].T)
    rest = complement(directions)
    np.testing.assert_allclose(rest.T @ rest, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(torch.stack(directions) @ rest, np.zeros((2, 4)), atol=1e-12)
