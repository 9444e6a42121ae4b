"""Fixtures that several test packages share."""

import pytest

from hilum.serving.bundle import Bundle
from modeling.install import install, installed


@pytest.fixture(scope="session")
def lite_medsam_bundle() -> Bundle:
    """The installed LiteMedSAM bundle; installed now into the user's cache where it is not."""
    return installed("lite-medsam") or install("lite-medsam").bundle
