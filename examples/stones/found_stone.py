"""A stone as Hilum finds it: outlined from a click in the CT, carried into the X-ray by a registration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from examples.demo.accuracy import dice
from examples.demo.alignment import coronal_projection, on_grid, register
from examples.demo.truth import Mask
from examples.stones.case import Case
from examples.stones.stone import Float
from hilum import Client, ColourOverlay, Image, Transform, TransformModel
from hilum.types import Fusion

# An outline that shares less with the stone's has missed it.
MISSED_DICE: Final = 0.5


@dataclass(frozen=True, eq=False)
class FoundStone:
    """What came out for one case.

    Attributes:
        case: with the truth.
        mask: the outline in the coronal CT slice; may be empty.
        ct_px: (2,), the outline's centroid in the grid's pixels; None where it is empty.
        projection: the CT's, as registered.
        transform: from the CT's grid to the X-ray.
    """

    case: Case
    mask: Mask
    ct_px: Float | None
    projection: Image
    transform: Transform

    @classmethod
    def of(cls, client: Client, case: Case, model: TransformModel) -> FoundStone:
        """Segment, project, register."""
        mask = client.predict(case.ct, [case.prompt], region="auto").best().mask
        projection = coronal_projection(client, case.volume)
        registration = register(client, projection, case.xray, model=model)
        inherited = on_grid(registration.transform, case.patient.grid, case.volume, case.placed.depth)
        centroid = np.argwhere(mask).mean(axis=0)[::-1] if mask.any() else None
        return cls(case, mask, centroid, projection, inherited)

    @property
    def dice(self) -> float:
        """Of the outline and the stone in the slice."""
        return dice(self.mask, self.case.outline)

    @property
    def missed(self) -> bool:
        """Whether the click did not find the stone."""
        return self.dice < MISSED_DICE

    @property
    def xray_px(self) -> Float | None:
        """Where in the X-ray the stone's centre should lie; None where nothing was outlined."""
        return None if self.ct_px is None else self.transform.apply(self.ct_px[None])[0]

    @property
    def error_mm(self) -> float:
        """Distance in the X-ray's plane from the true place; not a number where nothing was outlined.

        A parallel beam magnifies nothing: mm on the detector are mm in the patient.
        """
        return float("nan") if self.xray_px is None else self._distance_mm(self.xray_px)

    @property
    def registration_mm(self) -> float:
        """The registration's part: the error of a stone whose true centre is known in the CT."""
        return self._distance_mm(self.transform.apply(self.case.ct_px[None])[0])

    @property
    def shift_mm(self) -> float:
        """How far the motion took the stone: the error without a registration."""
        return self._distance_mm(self.case.ct_px)

    def fused(self, client: Client) -> Fusion:
        """The CT slice in grey under the X-ray in amber; flags, if any, are drawn into it."""
        return client.fuse(
            self.case.ct,
            self.case.xray,
            self.transform,
            accepted_flags=self.transform.flags,
            style=ColourOverlay(),
        )

    def _distance_mm(self, pixel: Float) -> float:
        return float(np.linalg.norm(pixel - self.case.xray_px)) * self.case.patient.grid.spacing_mm
