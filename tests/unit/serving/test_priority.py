"""The class of a call: what its header says, else what is usual."""

import pytest

from hilum.errors import InvalidField
from hilum.serving.priority import Priority, current_priority, prioritised, priority_of

CLICK, SERIES = "/hilum.v1.DecoderService/PredictMasks", "/hilum.v1.EncoderService/EncodeImages"


@pytest.mark.parametrize(
    ("method", "header", "expected"),
    [
        (CLICK, None, Priority.INTERACTIVE),
        (SERIES, None, Priority.BATCH),
        (CLICK, "batch", Priority.BATCH),
        (SERIES, "interactive", Priority.INTERACTIVE),
    ],
)
def test_header_or_custom(method: str, header: str | None, expected: Priority) -> None:
    """A series is batch and a click interactive unless the caller says otherwise."""
    metadata = [("x-request-id", "1")] + ([("x-hilum-priority", header)] if header else [])
    assert priority_of(method, metadata) is expected


@pytest.mark.parametrize("values", [["urgent"], [""], ["batch", "interactive"], [b"batch"]])
def test_other_values_are_refused(values: list[str | bytes]) -> None:
    """A class that does not exist, and two at once, are the caller's mistake."""
    with pytest.raises(InvalidField) as caught:
        priority_of(CLICK, [("x-hilum-priority", value) for value in values])
    assert caught.value.field == "x-hilum-priority"


def test_outside_a_call_work_is_interactive() -> None:
    """Inside a block its class is the current one, afterwards the former."""
    with prioritised(Priority.BATCH):
        assert current_priority() is Priority.BATCH
    assert current_priority() is Priority.INTERACTIVE
