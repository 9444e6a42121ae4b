"""The stones example over real processes: one stone in each of the two volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from examples.demo.running_services import RunningServices
from examples.stones.case import Case
from examples.stones.found_stone import FoundStone
from examples.stones.patient import KIDNEY_STONES, Patient, abdomen, chest
from examples.stones.pictures import real_views, views
from examples.stones.real_stone import FoundRealStone, real_stones
from examples.stones.stone_in_xray import StoneInXray, XrayMask
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
    seen = XrayMask.from_box(client, StoneInXray.of(found.case))
    assert not seen.missed
    assert seen.distance_mm(found.xray_px) < 5
    assert [view.pixels.dtype for view in views(found, seen, found.fused(client))] == ["uint8"] * 4


def test_clicks_find_the_largest_real_stone_in_two_planes(client: Client) -> None:
    """A click on a real stone outlines it: its centre within 1 mm of the labels', its diameter within 3 mm."""
    if not KIDNEY_STONES.is_dir():
        pytest.skip("no sample data: shared/data/ct_kidney_stones beside the checkout is absent")
    largest = [stone for stone in real_stones(KIDNEY_STONES) if stone.number == 1]
    assert [stone.plane for stone in largest] == ["axial", "coronal"]
    found = [each for stone in largest for each in FoundRealStone.of(client, stone) if each.how == "click"]
    for each in found:
        mask_mm, labels_mm = each.diameters_mm
        assert each.centre_error_mm < 1
        assert abs(mask_mm - labels_mm) < 3
    assert [len(row) for row in real_views(found)] == [1, 1]
