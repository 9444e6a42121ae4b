import pytest

from hilum.errors import Unauthenticated
from hilum.serving.client_certificates import ClientCertificates
from hilum.serving.identity import Identity, Role

GATEWAY = Identity("gateway.example", "st-mary", frozenset({Role.SERVICE}))
LISTED = ClientCertificates({"gateway.example": GATEWAY, "spiffe://a/ns/x": GATEWAY})


def test_a_spiffe_id_says_tenant_and_role() -> None:
    """The documented form names tenant, role and subject."""
    name = "spiffe://hospital.example/tenant/st-mary/role/annotator/theatre-3/navigator"
    assert ClientCertificates({}).identify(["other.example", name]) == Identity(
        name, "st-mary", frozenset({Role.ANNOTATOR})
    )


def test_a_listed_name_counts_first() -> None:
    """What the operator lists outweighs what the certificate says of itself; several names may say the same."""
    own = "spiffe://hospital.example/tenant/other/role/admin/x"
    assert LISTED.identify([own, "gateway.example"]) == GATEWAY
    assert LISTED.identify(["gateway.example", "spiffe://a/ns/x"]) == GATEWAY


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["unknown.example"],
        ["gateway.example.evil"],
        ["spiffe://a/tenant/st-mary/role/annotator"],
        ["spiffe://a/tenant/St Mary/role/annotator/x"],
        ["spiffe://a/tenant/st-mary/role/king/x"],
        ["spiffe://a/role/annotator/tenant/st-mary/x"],
        ["https://a/tenant/st-mary/role/annotator/x"],
        ["spiffe://a/tenant/a/role/viewer/x", "spiffe://a/tenant/b/role/viewer/x"],
    ],
)
def test_anything_else_names_nobody(names: list[str]) -> None:
    """Unknown, malformed and contradicting names are refused, never chosen from."""
    with pytest.raises(Unauthenticated):
        LISTED.identify(names)
