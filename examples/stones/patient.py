"""The real CT volumes that stones are put into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.demo.accuracy import IMAGE_WIDTH
from examples.demo.ct_volume import CtVolume, Label, load_ct_volume, read_ct_volume
from examples.demo.simulated_xray import MaterialPaths, material_paths
from examples.demo.working_grid import WorkingGrid

KIDNEY_STONES = Path(__file__).resolve().parents[3] / "shared" / "data" / "ct_kidney_stones"
# The chest's kidneys hold contrast medium. The abdomen was scanned without any: there what is brighter is a real stone.
_CHEST_HU, _ABDOMEN_HU = 500, 200


@dataclass(frozen=True, eq=False)
class Patient:
    """A CT and what its radiographs are made of.

    Attributes:
        name: "chest" or "abdomen".
        volume: the CT.
        free: bool, the volume's shape: kidney where nothing dense lies already.
        grid: of all pictures.
        paths: the body's, without a stone.
    """

    name: str
    volume: CtVolume
    free: NDArray[np.bool_]
    grid: WorkingGrid
    paths: MaterialPaths

    @classmethod
    def of(cls, name: str, volume: CtVolume, densest_hu: int) -> Patient:
        """Prepare a CT.

        Args:
            name: what it is called in tables.
            volume: the CT, with both kidneys labelled.
            densest_hu: what is brighter in a kidney is left as it is.
        """
        kidneys = volume.mask((Label.KIDNEY_RIGHT, Label.KIDNEY_LEFT))
        free = kidneys & (volume.hounsfield <= densest_hu)
        return cls(name, volume, free, WorkingGrid.over(volume, IMAGE_WIDTH), material_paths(volume))


def chest() -> Patient:
    """The demo's CT: contrast-enhanced, voxels of .7 x 2.5 x .7 mm; it shows the upper halves of the kidneys.

    Raises:
        VolumeUnavailableError: it could not be brought to this machine.
    """
    return Patient.of("chest", load_ct_volume(), _CHEST_HU)


def abdomen(folder: Path = KIDNEY_STONES) -> Patient:
    """The CT of the sample data beside the checkout: without contrast medium, voxels of 3 mm, both kidneys whole.

    Raises:
        FileNotFoundError: the sample data is not there.
    """
    volume = read_ct_volume(folder / "ct_full.nii.gz", folder / "seg_full_fast_model.nii.gz")
    return Patient.of("abdomen", volume, _ABDOMEN_HU)
