import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.errors import InvalidField
from hilum.serving.tenant import DefaultTenant, MetadataTenant, TenantKeys, acting_for, current_tenant, tenant_tag


def test_default_tenant_ignores_what_callers_say() -> None:
    """Without a trusted proxy no caller can choose a tenant."""
    assert DefaultTenant().resolve([("x-hilum-tenant", "someone-else")]) == "default"


def test_metadata_tenant_reads_the_header() -> None:
    """Behind a trusted proxy the header names the tenant."""
    assert MetadataTenant().resolve([("user-agent", "x"), ("x-hilum-tenant", "st-mary-2")]) == "st-mary-2"


@pytest.mark.parametrize("name", ["", "Upper", "a b", "a\n", "a" * 65, "ä", b"bytes"])
def test_malformed_tenants_are_refused(name: str | bytes) -> None:
    """A name outside [a-z0-9-]{1,64} is refused, naming the header."""
    with pytest.raises(InvalidField) as caught:
        MetadataTenant().resolve([("x-hilum-tenant", name)])
    assert caught.value.field == "x-hilum-tenant"


@pytest.mark.parametrize("metadata", [[], [("x-hilum-tenant", "a"), ("x-hilum-tenant", "a")]])
def test_one_header_is_required(metadata: list[tuple[str, str | bytes]]) -> None:
    """No header and several headers are refused, never chosen from."""
    with pytest.raises(InvalidField):
        MetadataTenant().resolve(metadata)


def test_tag_follows_its_definition() -> None:
    """The tag is the start of SHA-256 over a tagged string, so that it cannot equal a digest made for anything else."""
    assert tenant_tag("default") == hashlib.sha256(b"hilum.tenant_tag\0default").hexdigest()[:16]


def test_keys_follow_their_definition() -> None:
    """A tenant's key is HMAC-SHA-256 of the tagged tenant under the master key."""
    master = bytes(range(32))
    assert TenantKeys(master).key("a") == hmac.new(master, b"hilum.tenant\0a", "sha256").digest()


@given(st.text(max_size=20), st.text(max_size=20))
def test_tenants_do_not_share_tags_or_keys(one: str, other: str) -> None:
    """Two tenants have the same tag and key exactly when they are the same tenant."""
    keys = TenantKeys(b"k" * 16)
    assert (tenant_tag(one) == tenant_tag(other)) == (one == other)
    assert (keys.key(one) == keys.key(other)) == (one == other)


def test_short_master_keys_are_refused() -> None:
    """A master key under 16 bytes is refused."""
    with pytest.raises(ValueError, match="16 bytes"):
        TenantKeys(b"short")


def test_there_is_no_tenant_outside_a_request() -> None:
    """Outside an RPC the tenant is an error, not a default that could leak another's values."""
    with pytest.raises(LookupError):
        current_tenant()
    with acting_for("a"):
        assert current_tenant() == "a"
    with pytest.raises(LookupError):
        current_tenant()
