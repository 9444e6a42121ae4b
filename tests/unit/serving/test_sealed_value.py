import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.serving.purge_tag import PurgeTag
from hilum.serving.sealed_value import HEAD_BYTES, HEADER_BYTES, CorruptValue, seal, tags_of, unseal
from hilum.serving.tenant import TenantTag, tenant_tag

TENANT = tenant_tag("a")
KEY = bytes(range(32))


@given(st.lists(st.binary(max_size=64), max_size=4))
def test_payloads_come_back(parts: list[bytes]) -> None:
    """What was sealed in parts comes back as their concatenation."""
    assert unseal(seal("thing", TENANT, KEY, *parts), "thing", TENANT, KEY) == b"".join(parts)


def test_layout_is_the_documented_one() -> None:
    """Offsets and the checksum are those of the module's table, so that another program can read values."""
    tag = PurgeTag(bytes(range(16)))
    data = seal("thing", TENANT, KEY, b"payload", tags=[tag])
    assert data[:10] == b"HILUMVAL\x02\x00"
    assert data[10:32] == b"thing".ljust(22, b"\0")
    assert data[32:48] == TENANT.encode()
    assert data[48:80] == KEY
    assert data[80:96] == (23).to_bytes(8, "little") + b"\1\0" + bytes(6)
    assert data[96:128] == hashlib.sha256(data[:96] + tag + b"payload").digest()
    assert data[HEADER_BYTES:] == tag + b"payload"
    assert bytes(unseal(data, "thing", TENANT, KEY)) == b"payload"


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=8), st.binary(max_size=64))
def test_tags_are_read_from_the_head(tags: list[bytes], payload: bytes) -> None:
    """What a value derives from is told by its first HEAD_BYTES, whatever comes after."""
    data = seal("thing", TENANT, KEY, payload, tags=[PurgeTag(tag) for tag in tags])
    assert list(tags_of(data[:HEAD_BYTES])) == tags
    assert unseal(data, "thing", TENANT, KEY) == payload


@given(st.binary(max_size=300))
def test_reading_tags_of_anything_never_fails(data: bytes) -> None:
    """Tags are looked for in every value of a tenant, damaged ones included."""
    assert all(len(tag) == 16 for tag in tags_of(data))


@given(st.binary(max_size=40), st.data())
def test_any_flipped_bit_is_found(payload: bytes, data: st.DataObject) -> None:
    """No single flipped bit, wherever it lies, passes."""
    value = bytearray(seal("thing", TENANT, KEY, payload))
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    value[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptValue):
        unseal(bytes(value), "thing", TENANT, KEY)


@given(st.binary(max_size=40), st.data())
def test_any_truncation_or_extension_is_found(payload: bytes, data: st.DataObject) -> None:
    """A value cut short anywhere or with bytes appended does not pass."""
    value = seal("thing", TENANT, KEY, payload)
    cut = data.draw(st.integers(0, len(value) - 1))
    for damaged in (value[:cut], value + value[cut:]):
        with pytest.raises(CorruptValue):
            unseal(damaged, "thing", TENANT, KEY)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_corrupt(data: bytes) -> None:
    """Whatever bytes lie in the cache, the answer is CorruptValue and nothing else."""
    with pytest.raises(CorruptValue):
        unseal(data, "thing", TENANT, KEY)


@pytest.mark.parametrize(
    ("kind", "tenant", "key"),
    [("other", TENANT, KEY), ("thing", tenant_tag("b"), KEY), ("thing", TENANT, bytes(32))],
    ids=["kind", "tenant", "key"],
)
def test_a_value_of_something_else_is_corrupt(kind: str, tenant: TenantTag, key: bytes) -> None:
    """A whole value that was sealed as another kind, for another tenant or under another key does not pass."""
    with pytest.raises(CorruptValue):
        unseal(seal("thing", TENANT, KEY, b"payload"), kind, tenant, key)


def test_the_payload_is_not_copied() -> None:
    """The payload is a view into the value."""
    data = seal("thing", TENANT, KEY, b"payload")
    assert unseal(data, "thing", TENANT, KEY).obj is data


@pytest.mark.parametrize("kind", ["", "k" * 23])
def test_fields_that_do_not_fit_are_refused(kind: str) -> None:
    """A kind that the header cannot hold is the caller's mistake."""
    with pytest.raises(ValueError, match="bytes"):
        seal(kind, TENANT, KEY, b"")
