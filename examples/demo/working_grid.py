"""The square-pixel grid of the coronal plane on which every picture of the demo lies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from examples.demo.ct_volume import CtVolume
from hilum.geometry import ImageGeometry, PatientFrame, pixel_to_patient
from hilum.types import Image, ImageSource, Window


@dataclass(frozen=True, eq=False)
class WorkingGrid:
    """Square pixels over the volume's whole coronal extent, patient's right on the left, head up.

    Attributes:
        height: rows, head to feet; the largest number that fits, centred.
        width: columns, patient's right to left.
        spacing_mm: side of a pixel.
        native_from_grid: 3x3, maps a grid pixel (x, y, 1) to (column, row, 1) of the volume. Pixel centres lie
            at integers.
    """

    height: int
    width: int
    spacing_mm: float
    native_from_grid: npt.NDArray[np.float64]

    @classmethod
    def over(cls, volume: CtVolume, width: int = 256) -> WorkingGrid:
        """The grid with this many columns: 256 give pixels of 1.406 mm, 512 of .703 mm."""
        _, rows, columns = volume.hounsfield.shape
        _, row_mm, column_mm = volume.spacing_mm
        spacing_mm = columns * column_mm / width
        height = int(rows * row_mm / spacing_mm)
        matrix = np.eye(3)
        for axis, native, size_mm, count in ((0, columns, column_mm, width), (1, rows, row_mm, height)):
            matrix[axis, axis] = spacing_mm / size_mm
            matrix[axis, 2] = (native - 1) / 2 - matrix[axis, axis] * (count - 1) / 2
        return cls(height, width, spacing_mm, matrix)

    def frame(self, volume: CtVolume, depth: int) -> PatientFrame:
        """Where the grid's pixels lie in the patient when it shows the coronal slice at this depth."""
        column, row = self.native_from_grid[:2, 2]
        x, y, z = pixel_to_patient(volume.frame, [(column, row, depth)])[0]
        spacing = (self.spacing_mm, self.spacing_mm, volume.spacing_mm[0])
        return replace(volume.frame, origin_mm=(float(x), float(y), float(z)), spacing_mm=spacing)

    def slice_image(self, volume: CtVolume, depth: int, window: Window) -> Image:
        """A coronal slice on the grid: int16 Hounsfield units with its place in the patient."""
        pixels = np.rint(self.resample(volume.hounsfield[depth], outside=-1024)).astype(np.int16)
        geometry = ImageGeometry(self.frame(volume, depth))
        return Image(pixels, geometry, window=window, source=ImageSource(modality="CT"))

    def resample(
        self,
        native: npt.NDArray[np.generic],
        moving_to_fixed: npt.NDArray[np.float64] | None = None,
        *,
        order: int = 1,
        outside: float = 0.0,
    ) -> npt.NDArray[np.float64]:
        """Bring an image of the volume's (row, column) onto the grid, averaging over each pixel's area.

        Args:
            native: shape (height, width) of the volume.
            moving_to_fixed: 3x3 in grid pixels: shows the plane after this motion.
            order: spline order, 1 for masks and CT numbers, 3 for path lengths.
            outside: value beyond the volume.

        Returns:
            float64, shape (height, width) of the grid.
        """
        matrix = self.native_from_grid @ (np.eye(3) if moving_to_fixed is None else moving_to_fixed)
        image = np.asarray(native, dtype=np.float64)
        coefficients = ndimage.spline_filter(image, order=order) if order > 1 else image
        total = np.zeros((self.height, self.width))
        offsets = (-0.25, 0.25)
        for y_offset in offsets:
            for x_offset in offsets:
                column, row = _positions(matrix, self.height, self.width, x_offset, y_offset)
                sampled = ndimage.map_coordinates(
                    coefficients, (row, column), order=order, prefilter=False, mode="nearest"
                )
                total += np.where(_inside(row, column, image.shape), sampled, outside)
        return total / len(offsets) ** 2

    def exposed(self, volume: CtVolume, moving_to_fixed: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which pixels of the moved plane show the volume; bool, the grid's shape."""
        matrix = self.native_from_grid @ moving_to_fixed
        column, row = _positions(matrix, self.height, self.width, 0.0, 0.0)
        return _inside(row, column, volume.hounsfield.shape[1:])


def _positions(
    matrix: npt.NDArray[np.float64], height: int, width: int, x_offset: float, y_offset: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    y, x = np.mgrid[:height, :width] + np.array([y_offset, x_offset])[:, None, None]
    column = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    row = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    return column, row


def _inside(
    row: npt.NDArray[np.float64], column: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Within the volume's pixels, whose edges lie half a pixel beyond their centres."""
    return np.asarray(
        (row >= -0.5) & (row <= shape[0] - 0.5) & (column >= -0.5) & (column <= shape[1] - 0.5), dtype=np.bool_
    )
