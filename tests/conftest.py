"""Fixtures that several test packages share."""

from pathlib import Path

import pytest

from hilum.serving.bundle import Bundle
from modeling.install import install, installed

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def lite_medsam_bundle() -> Bundle:
    """The installed LiteMedSAM bundle; installed now into the user's cache where it is not."""
    return installed("lite-medsam") or install("lite-medsam").bundle


@pytest.fixture(scope="session")
def default_bundle() -> Bundle:
    """The installed bundle that the services serve by default; installed now where it is not."""
    return installed("lite-medsam-click") or install("lite-medsam-click").bundle


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of sample data beside the checkout; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no sample data: {SHARED_DATA.parent.name}/{SHARED_DATA.name} beside the checkout is absent")
    return SHARED_DATA
