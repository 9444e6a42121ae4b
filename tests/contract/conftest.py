"""The services under test, once per session, and a tenant of its own for every test."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from hilum.serving.bundle import Bundle
from hilum.serving.calibration import ScoreCalibration
from hilum.testing import FakeDecoder, FakeEncoder, FakeFusion, FakeModel, serve_in_process
from modeling.bundle_writer import write_bundle
from tests.congruence.oracle import RANDOM_SAM_SPEC, random_sam
from tests.contract.wiring import MAX_IMAGE_PIXELS, MAX_VOLUME_BYTES, Caller, Served, box_only, in_thread, real_services


@pytest.fixture(scope="session")
def sam_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of a small random SAM, calibrated on CT as the fake is."""
    folder = tmp_path_factory.mktemp("bundles") / RANDOM_SAM_SPEC.name
    curve = ScoreCalibration((-10.0, 10.0), (0.0, 1.0), abstain_below=0.5, patients=1, answers=1)
    kinds = replace(RANDOM_SAM_SPEC.prompts, single_click=True)
    spec = replace(RANDOM_SAM_SPEC, calibration={"CT": curve}, prompts=kinds)
    return write_bundle(random_sam(), spec, folder).bundle


@pytest.fixture(scope="session")
def fake_services() -> Iterator[Served]:
    """The fakes that Hilum ships."""
    models = (FakeModel(single_click=True), FakeModel("fake-box-only", points=False, mask_input=False))
    encoder = FakeEncoder(models, max_image_pixels=MAX_IMAGE_PIXELS)
    decoder = FakeDecoder(encoder, max_image_pixels=MAX_IMAGE_PIXELS)
    fusion = FakeFusion(models, max_image_pixels=MAX_IMAGE_PIXELS, max_volume_bytes=MAX_VOLUME_BYTES)
    with in_thread(serve_in_process(encoder, decoder, fusion)) as endpoints:
        yield Served("fake", endpoints, models[0].name, models[1].name, 256)


@pytest.fixture(scope="session")
def real_served(sam_bundle: Bundle) -> Iterator[Served]:
    """The services, over a small random SAM."""
    bundles = [sam_bundle, box_only(sam_bundle)]
    names = [bundle.manifest.name for bundle in bundles]
    with in_thread(real_services(bundles)) as endpoints:
        yield Served("real", endpoints, names[0], names[1], sam_bundle.manifest.low_res_mask_size)


@pytest.fixture(scope="session", params=["fake", "real"])
def served(request: Any) -> Served:
    """Both, one after the other: what holds for the services holds for the fakes."""
    chosen: Served = request.getfixturevalue("fake_services" if request.param == "fake" else "real_served")
    return chosen


@pytest.fixture
def caller(served: Served) -> Iterator[Caller]:
    """A new tenant of either."""
    caller = Caller(served)
    yield caller
    caller.close()


@pytest.fixture
def stranger(served: Served) -> Iterator[Caller]:
    """Another new tenant of the same services."""
    caller = Caller(served)
    yield caller
    caller.close()


@pytest.fixture
def real_caller(real_served: Served) -> Iterator[Caller]:
    """A new tenant of the services."""
    caller = Caller(real_served)
    yield caller
    caller.close()
