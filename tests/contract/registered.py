"""Registrations through a caller."""

from typing import Any

from hilum.v1 import fusion_service_pb2 as pb
from tests.contract.fusing import registering
from tests.contract.wiring import Caller


def register(caller: Caller, **fields: Any) -> tuple[list[pb.RegistrationProgress], pb.RegistrationResult]:
    """Registers the two bodies; returns progress and the result, which comes last."""
    *progress, last = caller.call("RegisterImages", registering(**fields))
    assert [event.WhichOneof("event") for event in progress] == ["progress"] * len(progress)
    assert last.WhichOneof("event") == "result"
    return [event.progress for event in progress], last.result
