"""The real stones of a CT, in the axial and the coronal plane: prompted, outlined, measured against the labels.

The labels are a threshold (200 HU within the kidneys), no manual outline, on voxels of 3 mm, so that a stone is one to
thirteen voxels. Slices are drawn on finer pixels, as a viewer does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from examples.demo.accuracy import IMAGE_WIDTH, dice
from examples.demo.ct_volume import CtVolume, read_ct_volume
from examples.demo.truth import Mask
from examples.demo.working_grid import WorkingGrid
from examples.stones.prompts import inner_click, loose_box
from examples.stones.stone import Float
from hilum import CT_STONE, Client, Image, ImageGeometry, Prompt
from hilum.types import ImageSource

Plane: TypeAlias = Literal["axial", "coronal"]
PLANES: Final[tuple[Plane, ...]] = ("axial", "coronal")
# Each edge of a box misses by up to this: a stone may be as small as a voxel of 3 mm.
BOX_JITTER_MM: Final = 2.0


@dataclass(frozen=True, eq=False)
class RealStone:
    """One stone in the slice of a plane that shows most of it.

    Attributes:
        number: of the stone among the volume's, largest first, from 1.
        voxels: how many are labelled.
        plane: axial or coronal; the patient's right is on the left of both.
        image: the slice in HU on square pixels.
        outline: where the slice's labelled voxels lie; bool, the image's shape.
        pixel_mm: side of a pixel.
    """

    number: int
    voxels: int
    plane: Plane
    image: Image
    outline: Mask
    pixel_mm: float

    def prompts(self) -> dict[str, Prompt]:
        """A box and a click, drawn by the stone's number; of the same size in mm wherever the stone lies."""
        random = np.random.default_rng((self.number, PLANES.index(self.plane)))
        box = loose_box(self.outline, random, BOX_JITTER_MM / self.pixel_mm)
        return {"box": Prompt(box=box), "click": Prompt((inner_click(self.outline, random),))}


@dataclass(frozen=True, eq=False)
class FoundRealStone:
    """What the decoder answered.

    Attributes:
        stone: with its labels.
        how: "box" or "click".
        prompt: what was asked.
        mask: bool, the image's shape; may be empty.
    """

    stone: RealStone
    how: str
    prompt: Prompt
    mask: Mask

    @classmethod
    def of(cls, client: Client, stone: RealStone) -> list[FoundRealStone]:
        """Ask for the stone by each prompt."""
        return [
            cls(stone, how, prompt, client.predict(stone.image, [prompt], region="auto").best().mask)
            for how, prompt in stone.prompts().items()
        ]

    @property
    def dice(self) -> float:
        """Of the mask and the labels."""
        return dice(self.mask, self.stone.outline)

    @property
    def centre_error_mm(self) -> float:
        """Between the centroids of mask and labels in the slice; not a number where the mask is empty."""
        if not self.mask.any():
            return float("nan")
        apart = _centroid(self.mask) - _centroid(self.stone.outline)
        return float(np.linalg.norm(apart)) * self.stone.pixel_mm

    @property
    def diameters_mm(self) -> tuple[float, float]:
        """Of the mask and of the labels: of the circle with the same area."""
        return tuple(2 * np.sqrt(mask.sum() / np.pi) * self.stone.pixel_mm for mask in (self.mask, self.stone.outline))


def real_stones(folder: Path) -> Iterator[RealStone]:
    """Yield each stone in both planes, the largest first.

    Args:
        folder: ct_kidney_stones of the sample data.

    Raises:
        FileNotFoundError: the sample data is not there.
    """
    volume = read_ct_volume(folder / "ct_full.nii.gz", folder / "stone_candidates_HU200_in_kidney.nii.gz")
    parts, count = ndimage.label(volume.labels > 0, np.ones((3, 3, 3)))
    by_size = sorted(range(1, count + 1), key=lambda part: -int((parts == part).sum()))
    for number, part in enumerate(by_size, start=1):
        for plane in PLANES:
            yield _in_plane(volume, parts == part, number, plane)


def _in_plane(volume: CtVolume, stone: NDArray[np.bool_], number: int, plane: Plane) -> RealStone:
    hounsfield, inside, spacing = volume.hounsfield, stone, volume.spacing_mm
    if plane == "axial":
        # Depth runs from the front to the back: the rows of an axial picture.
        hounsfield, inside = hounsfield.swapaxes(0, 1), inside.swapaxes(0, 1)
        spacing = (spacing[1], spacing[0], spacing[2])
    shown = CtVolume(hounsfield, inside.astype(np.uint8), spacing, volume.frame)
    grid = WorkingGrid.over(shown, IMAGE_WIDTH)
    index = int(inside.sum(axis=(1, 2)).argmax())
    pixels = np.rint(grid.resample(hounsfield[index], outside=-1024)).astype(np.int16)
    image = Image(pixels, ImageGeometry(), window=CT_STONE, source=ImageSource(modality="CT"))
    outline = np.asarray(grid.resample(inside[index], order=0) >= 0.5, np.bool_)
    return RealStone(number, int(stone.sum()), plane, image, outline, grid.spacing_mm)


def _centroid(mask: Mask) -> Float:
    return np.asarray(np.argwhere(mask).mean(axis=0)[::-1], np.float64)
