"""The X-ray in another breath, registered without and with a bend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.demo.alignment import on_grid, register, registration_error
from examples.demo.breath import Breath
from examples.demo.ct_volume import CtVolume
from examples.demo.pictures import Panel, checkerboard, grid_lines
from examples.demo.truth import projected_body
from hilum import Client, Image, Transform, TransformModel
from hilum.intensity import grey_levels
from hilum.types import Fusion, Registration


@dataclass(frozen=True)
class FollowedBreath:
    """What registrations made of a breath; transforms and pictures on its grid.

    Attributes:
        breath: what happened.
        volume: the CT.
        transforms: affine, then deformable.
        pictures: the CT's projection and the X-ray under each.
        registration: the answer about the deformable one.
    """

    breath: Breath
    volume: CtVolume
    transforms: tuple[Transform, Transform]
    pictures: tuple[Fusion, Fusion]
    registration: Registration

    @classmethod
    def by(cls, client: Client, breath: Breath, volume: CtVolume, depth: int, projection: Image) -> FollowedBreath:
        """Asks the fusion service to register and to fuse.

        Args:
            client: Of the services.
            breath: What is followed.
            volume: The CT.
            depth: Of the coronal slice in whose plane the pictures are said to lie.
            projection: Of the CT.
        """
        grid = breath.grid
        models = TransformModel.AFFINE, TransformModel.DEFORMABLE
        affine, deformable = (register(client, projection, breath.xray, model=model) for model in models)
        transforms = tuple(on_grid(found.transform, grid, volume, depth) for found in (affine, deformable))
        flat = Image(grid.resample(projection.pixels).astype(np.float32), transforms[0].fixed_geometry)
        straight, bent = (
            client.fuse(flat, breath.xray, transform, accepted_flags=transform.flags) for transform in transforms
        )
        return cls(breath, volume, (transforms[0], transforms[1]), (straight, bent), deformable)

    def rows(self) -> list[tuple[str, str, str]]:
        """Returns errors over the body, where it bends and where it does not, and what the answer says of the bend."""
        grid = self.breath.grid
        body, bent = projected_body(self.volume, grid), self.breath.bent
        rows = []
        for name, transform in zip(("affine", "deformable"), self.transforms, strict=True):
            moving, still = (
                registration_error(transform, grid, self.breath.moving_to_fixed, body & where).mean_px
                for where in (bent, ~bent)
            )
            words = f"{moving:.2f} px of 256 where it bends, {still:.2f} px elsewhere"
            rows.append((f"another breath, {name}", words, ""))
        deformation = self.registration.deformation
        if deformation is not None:
            folds, least = deformation.folding_fraction, deformation.least_jacobian
            inverse = self.registration.inverse_residual_px
            words = f"{folds:.1%} folds, least Jacobian {least:.2f}, inverse within {inverse:.3f} px"
            rows.append(("its displacement field", words, "no folds"))
        rows.append(("its flags", ", ".join(self.registration.transform.flags) or "none", ""))
        return rows

    def panels(self) -> list[Panel]:
        """Returns checkerboards without and with a bend, and the CT's grid in the X-ray, found and as it was made."""
        straight, bent = self.pictures
        body = projected_body(self.volume, self.breath.grid)
        lines = [
            ("made", grid_lines(body, self.breath.fixed_to_moving)),
            ("found", grid_lines(body, self.transforms[1].apply)),
        ]
        return [
            Panel("another breath, affine", checkerboard(straight.fixed, straight.moving)),
            Panel("another breath, deformable", checkerboard(bent.fixed, bent.moving)),
            Panel("the CT's grid in the simulated X-ray", grey_levels(self.breath.xray), lines=lines),
        ]
