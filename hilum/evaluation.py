"""How well a transform between two images fits what is known in both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LandmarkErrors:
    """Target registration errors, in the order of the landmarks.

    Attributes:
        errors: One for each landmark.
    """

    errors: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(np.mean(self.errors))

    @property
    def p95(self) -> float:
        """Their 95th percentile, linear between them."""
        return float(np.percentile(self.errors, 95))

    @property
    def max(self) -> float:
        """The largest."""
        return max(self.errors)


@dataclass(frozen=True)
class TargetEvaluation:
    """How well one target fits.

    Attributes:
        dice: Of the masks on the fixed grid.
        centroid_error: Distance of the centroids.
        mean_surface_distance: Of each outline's pixels from the other outline, both directions.
        max_surface_distance: The largest of them (Hausdorff).
    """

    dice: float
    centroid_error: float
    mean_surface_distance: float
    max_surface_distance: float


@dataclass(frozen=True)
class RegistrationEvaluation:
    """How well a transform fits; lengths are in the moving image.

    Attributes:
        unit: "mm", or "px" where the moving image has no spacing.
        landmarks: None where none were given.
        targets: In the order asked.
        folding_fraction: Share of the displacement field's cells in which it folds.
        inverse_residual: Largest distance by which known moving points that come from within the fixed image are
            missed, taken there and back; None where there is none, or no way back.
        flags: Of the transform.
    """

    unit: str
    landmarks: LandmarkErrors | None
    targets: tuple[TargetEvaluation, ...]
    folding_fraction: float
    inverse_residual: float | None
    flags: tuple[str, ...]
