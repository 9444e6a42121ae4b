"""Nothing that a caller asks to be registered brings a running fusion service down."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest

from hilum.codec.registrations import registration_from_message
from hilum.codec.volume_registrations import volume_result_from_message
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1.fusion_service_pb2_grpc import FusionServiceStub
from tests.contract.fusing import SHIFT, registering
from tests.contract.mutations import answer
from tests.contract.refusals import Refusal
from tests.contract.volumes import registering_volumes
from tests.integration.malformed import requests
from tests.integration.malformed_volumes import pairs
from tests.integration.processes import service

COUNT, SEED = 1000, 20261126
VOLUME_COUNT = 240
TIMEOUT_S = 30.0


def test_a_thousand_malformed_registrations() -> None:
    """Each is refused by the contract, or answered with finite numbers and known flags; then one is done as before."""
    answered, reasons = 0, set()
    with service("fusion") as process, grpc.insecure_channel(process.address) as channel:
        stub = FusionServiceStub(channel)

        for wrong, request in requests(COUNT, SEED):
            found = answer(partial(_registered, stub, request))
            if isinstance(found, Refusal):
                reasons.add(found.reason)
                continue
            assert not wrong, request
            answered += 1
            registration = registration_from_message(found)
            field = registration.transform.displacement_field
            assert field is None or np.isfinite(field.values).all()
            assert np.isfinite([registration.match_loss_after, registration.distinctness]).all()
        assert answered
        assert reasons == {"INVALID_FIELD", "INVALID_TENSOR", "LIMIT_EXCEEDED", "NO_CONTENT", "OUTSIDE_IMAGE"}
        last = _registered(stub, registering())
    shift = np.reshape(last.transform.pixel_matrix, (3, 3))[:2, 2]
    assert shift == pytest.approx(SHIFT, abs=2)


def _registered(stub: FusionServiceStub, request: pb.RegisterImagesRequest) -> pb.RegistrationResult:
    *_, last = stub.RegisterImages(request, timeout=TIMEOUT_S)
    return last.result


def test_malformed_registrations_of_volumes() -> None:
    """Each is refused by the contract, or answered with finite numbers and known flags; then one is done as before."""
    reasons = set()
    with service("fusion") as process, grpc.insecure_channel(process.address) as channel:
        stub = FusionServiceStub(channel)
        for wrong, pair in pairs(VOLUME_COUNT, SEED):
            found = answer(partial(_registered_volumes, stub, pair.requests()))
            if isinstance(found, Refusal):
                reasons.add(found.reason)
                continue
            assert not wrong, pair.message
            result = volume_result_from_message(found)
            field = result.transform.displacement_field
            assert field is None or np.isfinite(field.values).all()
            assert np.isfinite([result.similarity_after, result.distinctness, result.inverse_residual_mm]).all()
        assert reasons == {"INVALID_FIELD", "INVALID_TENSOR", "LIMIT_EXCEEDED", "NO_CONTENT", "FRAME_NOT_SUPPORTED"}
        assert _registered_volumes(stub, registering_volumes()).overlap_fraction > 0.5


def _registered_volumes(stub: FusionServiceStub, messages: Iterator[pb.RegisterVolumesRequest]) -> Any:
    *_, last = stub.RegisterVolumes(messages, timeout=TIMEOUT_S)
    return last.result
