"""ANTs: affine, then symmetric normalisation (SyN), by mutual information or local correlation."""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.registrars.registrar import Grey, Places, Registrar, pixel_places
from services.fusion.registration import RegistrationImage


@dataclass(frozen=True)
class Ants:
    """Settings of a grid that was tried.

    Attributes:
        transform: its own name for a sequence of transforms.
        metric: of the deformation, "mattes" or "CC"; of antsRegistrationSyN it is fixed.
        iterations: of the deformation at a quarter, half and full resolution, likewise.
    """

    transform: str = "SyN"
    metric: str = "mattes"
    iterations: tuple[int, int, int] = (100, 70, 50)

    def __call__(self) -> Registrar:
        """One thread, by the environment that ITK reads."""
        ants: Any = importlib.import_module("ants")

        def register(fixed: RegistrationImage, moving: RegistrationImage) -> Places:
            return self._register(ants, fixed, moving)

        return register

    def _register(self, ants: Any, fixed: RegistrationImage, moving: RegistrationImage) -> Places:
        pair = Grey.of(fixed), Grey.of(moving)
        # Its first axis is x.
        images = tuple(ants.from_numpy(grey.pixels.T) for grey in pair)
        masks = tuple(None if grey.mask is None else ants.from_numpy(grey.mask.T.astype(np.float32)) for grey in pair)
        with tempfile.TemporaryDirectory() as folder:
            found = ants.registration(
                *images,
                type_of_transform=self.transform,
                # Centres on each other, as everybody begins: centres of mass say little between modalities.
                initial_transform="Identity",
                mask=masks[0],
                moving_mask=masks[1],
                syn_metric=self.metric,
                syn_sampling=4 if self.metric == "CC" else 32,
                reg_iterations=self.iterations,
                random_seed=1,
                singleprecision=True,
                outprefix=str(Path(folder) / "found"),
            )
            grid = pixel_places(fixed.size)
            frame = importlib.import_module("pandas").DataFrame({"x": grid[..., 0].ravel(), "y": grid[..., 1].ravel()})
            placed = ants.apply_transforms_to_points(2, frame, found["fwdtransforms"])
        return np.asarray(placed[["x", "y"]].to_numpy(), np.float64).reshape(grid.shape)
