"""How many examples are tried of each, and bytes gone wrong."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def examples(count: int) -> settings:
    """Returns settings for so many examples, or for as many as FUZZ_EXAMPLES says, for a night's run."""
    return settings(
        max_examples=int(os.environ.get("FUZZ_EXAMPLES", count)),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    """Copies of bytes with a few of them replaced, removed, repeated or inserted, mostly in the first hundred."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        reach = min(len(data), 100) if draw(st.integers(0, 3)) else len(data)
        at = draw(st.integers(0, max(0, reach - 1)))
        match draw(st.sampled_from(["replace", "remove", "insert", "repeat", "cut"])):
            case "replace":
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "remove":
                del data[at : at + draw(st.integers(1, 8))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=12))
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
            case _:
                del data[at:]
    return bytes(data)
