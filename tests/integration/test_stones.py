"""The stones example over real processes: one stone in each of the two volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from examples.demo.running_services import RunningServices
from examples.stones.case import Case
from examples.stones.found_stone import FoundStone
from examples.stones.patient import KIDNEY_STONES, Patient, abdomen, chest
from examples.stones.pictures import views
from hilum import Client, TransformModel
from hilum.serving.bundle import Bundle

SEED = 100


@pytest.fixture(scope="module")
def client(default_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    log = tmp_path_factory.mktemp("stones") / "services.log"
    with RunningServices(log) as services, Client(services.endpoints) as connected:
        yield connected


@pytest.mark.parametrize("patient_of", [chest, abdomen])
def test_a_click_in_the_ct_finds_the_stone_in_the_xray(client: Client, patient_of: Callable[[], Patient]) -> None:
    """From one click, a stone's centre is carried to within 3 mm of its true place in the X-ray, and can be shown."""
    if patient_of is abdomen and not KIDNEY_STONES.is_dir():
        pytest.skip("no sample data: shared/data/ct_kidney_stones beside the checkout is absent")
    found = FoundStone.of(client, Case.drawn(patient_of(), SEED), TransformModel.AFFINE)
    assert not found.missed
    assert found.shift_mm > 3
    assert found.error_mm < 3
    assert [view.pixels.dtype for view in views(found, found.fused(client))] == ["uint8"] * 4
