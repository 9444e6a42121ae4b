"""The pixels of an image, or the voxels of a volume, as a grid with a place in millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilum.errors import FrameNotSupported
from hilum.geometry import Float, ImageGeometry, PatientFrame

# Of a slice whose thickness is not known: how far a point may lie off the plane, on either side.
_REACH_MM = 1.0


@dataclass(frozen=True)
class ImageGrid:
    """Size and geometry of an image or a volume.

    Attributes:
        size: (height, width) of an image, (depth, height, width) of a volume.
        geometry: Where the pixels lie.
    """

    size: tuple[int, ...]
    geometry: ImageGeometry = ImageGeometry()

    @property
    def patient_frame(self) -> PatientFrame | None:
        """The frame, if the image lies in the patient."""
        frame = self.geometry.frame
        return frame if isinstance(frame, PatientFrame) else None

    @property
    def plane_mm(self) -> Float:
        """(3, 3): pixels (x, y) to millimetres in the plane, from the centre of the first pixel.

        Raises:
            FrameNotSupported: It is a volume, or has no spacing in which lengths in the patient may be given.
        """
        if len(self.size) != 2:
            raise FrameNotSupported("a volume has no plane; use voxels, or LPS in mm", field="unit")
        spacing = self.geometry.plane_spacing_mm
        if spacing is None:
            raise FrameNotSupported(
                "an image has no spacing in which lengths in the patient may be given; use pixels", field="unit"
            )
        return np.diag([*spacing, 1.0])

    @property
    def patient_mm(self) -> Float:
        """(4, 4): voxel indices (x, y, slice) to LPS in mm; of an image, pixels (x, y) and mm along the normal.

        Raises:
            FrameNotSupported: It has no place in the patient.
        """
        frame = self.patient_frame
        if frame is None:
            raise FrameNotSupported("both images must be PATIENT_LPS; use pixels, or mm in the plane", field="unit")
        matrix = np.eye(4)
        along = frame.spacing_mm[2] if len(self.size) == 3 else 1.0
        matrix[:3, :3] = np.asarray(frame.direction) * (*frame.spacing_mm[:2], along)
        matrix[:3, 3] = frame.origin_mm
        return matrix

    @property
    def reach_mm(self) -> float:
        """How far off a slice's plane a point still belongs to it: half its thickness, 1 mm where that is unknown."""
        frame = self.patient_frame
        return (frame.spacing_mm[2] / 2 if frame else 0.0) or _REACH_MM
