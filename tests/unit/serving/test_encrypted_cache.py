import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.serving.cache_keyring import CacheKeyring
from hilum.serving.encrypted_cache import EncryptedCache
from hilum.serving.memory_cache import InMemoryCache
from hilum.serving.purge_tag import PurgeTag
from hilum.serving.sealed_value import HEAD_BYTES, seal, tags_of
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag

A, B = tenant_tag("a"), tenant_tag("b")
KEY, OTHER = bytes(range(32)), bytes(32)
OLD, NEW = os.urandom(32), os.urandom(32)
TAG = PurgeTag(b"t" * 16)
VALUE = seal("thing", A, KEY, b"the values themselves", tags=[TAG])


class Rig:
    """An encrypted cache, and what lies below it."""

    def __init__(self, *keys: bytes, below: InMemoryCache | None = None, kind: str = "thing") -> None:
        self.telemetry = Telemetry("test", stream=io.StringIO())
        self.below = below or InMemoryCache(2**20)
        self.cache = EncryptedCache(self.below, CacheKeyring(keys), kind=kind, telemetry=self.telemetry)

    async def stored(self) -> bytes:
        await self.cache.put(A, KEY, VALUE)
        data = await self.below.get(A, KEY)
        assert data is not None
        return data

    @property
    def undecryptable(self) -> float:
        return self.telemetry.value("hilum_cache_events_total", cache="thing", event="undecryptable")


async def test_values_come_back_and_are_not_readable_below() -> None:
    """What is kept holds nothing of the values, and comes back whole; its purge tags can be read all the same."""
    rig = Rig(NEW)
    data = await rig.stored()
    assert b"values" not in data
    assert tags_of(data[:HEAD_BYTES]) == (TAG,)
    assert await rig.cache.get(A, KEY) == VALUE
    assert rig.undecryptable == 0


async def test_the_same_value_is_never_encrypted_to_the_same_bytes() -> None:
    """Each time a new nonce is drawn."""
    rig = Rig(NEW)
    assert await rig.stored() != await rig.stored()


async def test_keys_can_be_changed() -> None:
    """The first key encrypts, all decrypt; without its key a value is a miss that is counted."""
    old = Rig(OLD)
    await old.stored()
    both, new = Rig(NEW, OLD, below=old.below), Rig(NEW, below=old.below)
    assert await both.cache.get(A, KEY) == VALUE
    assert await new.cache.get(A, KEY) is None
    assert new.undecryptable == 1
    await both.stored()
    assert await new.cache.get(A, KEY) == VALUE


@pytest.mark.parametrize("place", ["tenant", "id", "kind"])
async def test_a_value_in_anothers_place_does_not_decrypt(place: str) -> None:
    """A value that was moved to another tenant, id or kind is a miss that is counted."""
    data = await Rig(NEW).stored()
    tenant, identity = (B if place == "tenant" else A), (OTHER if place == "id" else KEY)
    rig = Rig(NEW, kind="other" if place == "kind" else "thing")
    await rig.below.put(tenant, identity, data)
    assert await rig.cache.get(tenant, identity) is None


async def test_what_is_not_encrypted_is_not_believed() -> None:
    """A plain value, valid in itself, is a miss that is counted."""
    rig = Rig(NEW)
    await rig.below.put(A, KEY, VALUE)
    assert await rig.cache.get(A, KEY) is None
    assert rig.undecryptable == 1


@given(st.data())
async def test_any_flipped_bit_or_cut_is_found(data: st.DataObject) -> None:
    """A value that was changed anywhere does not decrypt; nothing but a miss comes of it."""
    rig = Rig(NEW)
    whole = await rig.stored()
    damaged = bytearray(whole)
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    for value in (bytes(damaged), whole[: data.draw(st.integers(0, len(whole) - 1))]):
        await rig.below.put(A, KEY, value)
        assert await rig.cache.get(A, KEY) is None


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    """One key a line, comments and empty lines left out; the first is the current one."""
    file = tmp_path / "keys"
    file.write_text(f"# new\n{NEW.hex()}\n\n{OLD.hex()}  # until the first of May\n")
    keyring = CacheKeyring.load(file)
    assert keyring.current == CacheKeyring([NEW]).current
    assert keyring.cipher(CacheKeyring([OLD]).current) is not None


@pytest.mark.parametrize("content", ["", "ab" * 31, "no hex", f"{'ab' * 32}\n{'ab' * 32}", "\u00e9"])
def test_bad_key_files_are_refused_without_being_quoted(tmp_path: Path, content: str) -> None:
    """A file without keys, or with what is no key, is refused; what stands in it is not told."""
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(ValueError, match="keys") as caught:
        CacheKeyring.load(file)
    assert not content or content not in str(caught.value)
