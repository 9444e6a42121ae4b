from __future__ import annotations

import pytest

from examples.demo.ct_volume import CtVolume, load_ct_volume
from examples.demo.simulated_xray import MaterialPaths, material_paths
from examples.demo.working_grid import WorkingGrid


@pytest.fixture(scope="session")
def volume() -> CtVolume:
    """The real CT; pip brings it on a machine that has none."""
    return load_ct_volume()


@pytest.fixture(scope="session")
def grid(volume: CtVolume) -> WorkingGrid:
    return WorkingGrid.over(volume)


@pytest.fixture(scope="session")
def paths(volume: CtVolume) -> MaterialPaths:
    return material_paths(volume)
