"""Ground truth of the demo: masks on the working grid from the volume's labels, and prompts made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from examples.demo.ct_volume import GREAT_VESSELS, CtVolume, Label
from examples.demo.working_grid import WorkingGrid
from hilum.types import Box, Point

LUNG_PATH_MM: Final = 20.0
COVER_PATH_MM: Final = 10.0
# What hides lung in an antero-posterior radiograph.
COVERING: Final = (Label.HEART, Label.AORTA, *GREAT_VESSELS, Label.LIVER, Label.SPLEEN)
BODY_HU: Final = -400
BOX_JITTER_PX: Final = 5.0

Mask = npt.NDArray[np.bool_]


def slice_of_largest_area(volume: CtVolume, labels: tuple[int, ...]) -> int:
    """The depth of the coronal slice in which these labels cover the largest area."""
    return int(volume.mask(labels).sum(axis=(1, 2)).argmax())


def slice_truth(volume: CtVolume, grid: WorkingGrid, depth: int, labels: tuple[int, ...]) -> Mask:
    """Where a coronal slice shows these labels; bool, the grid's shape."""
    wanted = np.isin(volume.labels[depth], labels)
    return np.asarray(grid.resample(wanted) >= 0.5, dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class LungProjection:
    """One lung and what covers it, as lengths in mm along antero-posterior rays.

    Attributes:
        lung_mm: shape (height, width) of the volume.
        covering_mm: shape (n, height, width), one image per label of `COVERING`.
    """

    lung_mm: npt.NDArray[np.float64]
    covering_mm: npt.NDArray[np.float64]

    @classmethod
    def of(cls, volume: CtVolume, lung: tuple[int, ...]) -> LungProjection:
        """Project one lung: `RIGHT_LUNG` or `LEFT_LUNG`."""
        return cls(volume.path_mm(lung), np.stack([volume.path_mm((label,)) for label in COVERING]))

    def field(self, grid: WorkingGrid, moving_to_fixed: npt.NDArray[np.float64] | None = None) -> Mask:
        """The lung's field in the radiograph, as a radiologist would outline it.

        More than 20 mm of the lung along the ray, less the projections (more than 10 mm each) of the heart, aorta,
        great vessels, liver and spleen; the largest connected component.

        Args:
            grid: the picture's grid.
            moving_to_fixed: 3x3 in grid pixels, the motion of the picture.
        """
        field = grid.resample(self.lung_mm, moving_to_fixed) > LUNG_PATH_MM
        for covering in self.covering_mm:
            field &= grid.resample(covering, moving_to_fixed) <= COVER_PATH_MM
        return largest_component(field)


def body_mask(volume: CtVolume) -> Mask:
    """The patient without the table: per axial slice the largest connected tissue with its holes filled.

    Returns:
        bool, the volume's shape.
    """
    body = np.empty_like(volume.hounsfield, dtype=np.bool_)
    for row in range(volume.hounsfield.shape[1]):
        tissue = ndimage.binary_opening(volume.hounsfield[:, row] > BODY_HU, iterations=2)
        body[:, row] = ndimage.binary_fill_holes(largest_component(tissue))
    return body


def projected_body(volume: CtVolume, grid: WorkingGrid, moving_to_fixed: npt.NDArray[np.float64] | None = None) -> Mask:
    """The body's outline in the antero-posterior projection; bool, the grid's shape."""
    outline = np.asarray(body_mask(volume).any(axis=0))
    return np.asarray(grid.resample(outline, moving_to_fixed) >= 0.5, dtype=np.bool_)


def largest_component(mask: Mask) -> Mask:
    """The largest connected part (neighbours share an edge); an empty mask stays empty."""
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax(), dtype=np.bool_)


def middle_click(mask: Mask) -> Point:
    """Where a person would click: the mask's pixel that lies deepest in it.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no middle")
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return Point(float(x), float(y))


def jittered_box(mask: Mask, seed: int) -> Box:
    """The mask's bounding box with each edge moved by up to 5 px, uniformly, and kept inside the image.

    Raises:
        ValueError: the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError("an empty mask has no bounding box")
    edges = np.array([columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5])
    edges += np.random.default_rng(seed).uniform(-BOX_JITTER_PX, BOX_JITTER_PX, 4)
    height, width = mask.shape
    x_min, y_min, x_max, y_max = np.clip(edges, -0.5, [width - 0.5, height - 0.5, width - 0.5, height - 0.5])
    return Box(float(x_min), float(y_min), float(x_max), float(y_max))
