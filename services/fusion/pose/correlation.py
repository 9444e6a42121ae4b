"""How alike a radiograph and a projection are: the mean of their correlations within small windows.

Local correlation ignores how brightness and contrast differ from place to place, which is what bone weighting, scatter
and a radiograph's processing change. It is climbed by Gauss and Newton's method: with a window's values centred and
divided by their norm, 1 - correlation is half the squared distance of two unit vectors, whose curvature follows from
first derivatives alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from services.fusion.pose.projection import ProjectedVolume
from services.fusion.pose.rays import Rays

WINDOW_PX = 7
"""Side of a window."""
_FLAT = 0.02
# Side in windows of the blocks whose scores count as independent of each other: two windows wide.
_BLOCK = 2 * WINDOW_PX
_UPPER = torch.triu_indices(6, 6)


@dataclass(frozen=True, eq=False)
class Agreement:
    """The similarity of one view, or the sum of several, with its slope and curvature.

    Attributes:
        weight: the most that the sum of correlations can be.
        total: the sum of correlations over all windows.
        gradient: float64 (6,), of the total.
        curvature: float64 (6, 6), expected curvature of -total: Fisher's information.
        scatter: float64 (6, 6), of the gradient: the sum over blocks of windows of its outer products.
        coverage: share of the exposed windows along whose rays the body lies inside the volume.
    """

    weight: float
    total: float
    gradient: Tensor
    curvature: Tensor
    scatter: Tensor
    coverage: float

    @property
    def similarity(self) -> float:
        """Mean correlation, at most 1; 0 where nothing can be compared."""
        return self.total / self.weight if self.weight > 0 else 0.0


def agreement(projected: ProjectedVolume, rays: Rays) -> Agreement:
    """Compare a projection with the radiograph, with derivatives by the projection's six directions."""
    whole = _windows((rays.valid & projected.complete).double()[None])[0] > 1 - 1e-9
    exposed = _windows(rays.valid.double()[None])[0] > 1 - 1e-9
    coverage = float(whole.sum() / exposed.sum().clamp(min=1))
    shown, seen = _centred(projected.image, projected.complete), _centred(rays.image, rays.valid)
    shown_floor = _FLAT * float(shown[projected.complete].var(correction=0)) if bool(projected.complete.any()) else 0.0
    seen_floor = _FLAT * float(seen[rays.valid].var(correction=0)) if bool(rays.valid.any()) else 0.0
    if not bool(whole.any()) or shown_floor <= 0 or seen_floor <= 0:
        nothing = torch.zeros(6, 6, dtype=torch.float64)
        return Agreement(0.0, 0.0, nothing[0], nothing, nothing, coverage)
    moments = _Moments.of(shown, seen, projected.derivatives)
    spread = moments.shown_shown + shown_floor
    norm = torch.sqrt(spread * (moments.seen_seen + seen_floor))
    correlation = moments.shown_seen / norm
    slope = moments.slopes_seen / norm - correlation / spread * moments.slopes_shown
    # The floor follows the picture's own contrast.
    drift = 2 * _FLAT * (shown * projected.derivatives)[:, projected.complete].mean(dim=1)
    slope = torch.where(whole, slope - correlation / spread / 2 * drift[:, None, None], 0)
    bend = (
        moments.slopes_slopes / spread - (moments.slopes_shown[_UPPER[0]] * moments.slopes_shown[_UPPER[1]]) / spread**2
    )
    bend = (bend * torch.where(whole, correlation.clamp(min=0), 0)).sum(dim=(1, 2))
    curvature = torch.zeros(6, 6, dtype=torch.float64)
    curvature[_UPPER[0], _UPPER[1]] = bend
    curvature = torch.triu(curvature) + torch.triu(curvature, 1).T
    most = torch.sqrt(moments.seen_seen / (moments.seen_seen + seen_floor))
    return Agreement(
        weight=float(most[whole].sum()),
        total=float(correlation[whole].sum()),
        gradient=slope.sum(dim=(1, 2)),
        curvature=curvature,
        scatter=_scatter(slope),
        coverage=coverage,
    )


@dataclass(frozen=True, eq=False)
class _Moments:
    """Covariances within windows of the two images and of the derivatives (slopes) of the one that is shown."""

    shown_shown: Tensor
    shown_seen: Tensor
    seen_seen: Tensor
    slopes_shown: Tensor
    slopes_seen: Tensor
    slopes_slopes: Tensor

    @classmethod
    def of(cls, shown: Tensor, seen: Tensor, slopes: Tensor) -> _Moments:
        pairs = torch.stack([shown * shown, shown * seen, seen * seen])
        products = torch.cat([pairs, slopes * shown, slopes * seen, slopes[_UPPER[0]] * slopes[_UPPER[1]]])
        means = _windows(torch.cat([shown[None], seen[None], slopes, products]))
        a, b, d = means[0], means[1], means[2:8]
        return cls(
            (means[8] - a * a).clamp(min=0),
            means[9] - a * b,
            (means[10] - b * b).clamp(min=0),
            means[11:17] - d * a,
            means[17:23] - d * b,
            means[23:] - d[_UPPER[0]] * d[_UPPER[1]],
        )


def _windows(images: Tensor) -> Tensor:
    """Means over all windows that lie inside the images: (n, height, width) to (n, height - 6, width - 6)."""
    rows = F.avg_pool2d(images, (WINDOW_PX, 1), stride=1)
    return F.avg_pool2d(rows, (1, WINDOW_PX), stride=1)


def _centred(image: Tensor, valid: Tensor) -> Tensor:
    """The image less its mean: covariances are differences of large numbers otherwise."""
    return image - image[valid].mean() if bool(valid.any()) else image


def _scatter(slope: Tensor) -> Tensor:
    """The sum over blocks of the outer products of their gradients: how far chance moves the whole gradient."""
    blocks = F.avg_pool2d(slope[None], _BLOCK, ceil_mode=True, divisor_override=1)[0].flatten(1)
    return blocks @ blocks.T
