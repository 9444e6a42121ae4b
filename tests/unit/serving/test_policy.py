from pathlib import Path

import pytest

from hilum.errors import ConfigurationError
from hilum.serving.identity import Identity, Role
from hilum.serving.policy import DEFAULT_POLICY, Policy, contract_methods

TEXT = DEFAULT_POLICY.read_text()


def _changed(tmp_path: Path, before: str, after: str) -> Path:
    assert before in TEXT
    path = tmp_path / "policy.toml"
    path.write_text(TEXT.replace(before, after, 1))
    return path


def test_every_method_of_the_contract_is_named() -> None:
    """The built-in policy lists each method of the contract, found in its descriptors, with at least one role."""
    policy = Policy.load()
    assert contract_methods() <= set(policy.roles)
    assert all(policy.roles[method] for method in contract_methods())
    assert not policy.certificates


def test_only_health_is_open() -> None:
    """Probes need no identity; everything else does, reflection included."""
    assert Policy.load().open_methods == {"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"}


def test_administrators_see_no_images() -> None:
    """Who operates the installation learns what it can do, and reads neither images nor embeddings."""
    allowed = {method for method, roles in Policy.load().roles.items() if Role.ADMIN in roles}
    assert {method.rsplit("/", 1)[1] for method in allowed & contract_methods()} == {
        "GetCapabilities",
        "PurgeEmbeddings",
    }


def test_the_reference_shows_the_policy() -> None:
    """docs/reference/security.md lists the roles of every method as the built-in policy has them."""
    page = (Path(__file__).resolve().parents[3] / "docs/reference/security.md").read_text()
    rows = {cells[0]: cells[1] for line in page.splitlines() if len(cells := line.strip("| ").split(" | ")) == 2}
    for method, roles in Policy.load().roles.items():
        if method in contract_methods():
            name = method.removeprefix("/hilum.v1.").replace("/", ".")
            shown = set(rows[f"`{name}`"].split(", "))
            assert shown == {role.value for role in roles}, name


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('PredictMasks = ["annotator", "service"]\n', "", "PredictMasks is not listed"),
        ("PredictMasks", "PredictMask", "not listed"),
        ("GenerateMasks =", 'Guess = ["viewer"]\nGenerateMasks =', "Guess is no method"),
        ('PredictMasks = ["annotator"', 'PredictMasks = ["doctor"', "doctor is no role"),
        ('PredictMasks = ["annotator"', 'PredictMasks = ["anyone"', "cannot be open to anyone"),
        ('PredictMasks = ["annotator", "service"]', 'PredictMasks = "annotator"', "list of roles"),
        ('[rpcs."hilum.v1.DecoderService"]', "[extra]", "no section extra"),
        ("PredictMasks = [", "PredictMasks = ", "cannot be read"),
        ("# [certificates", '[certificates."a"]\ntenant = "St Mary"\nroles = []\n#', "certificates.a needs a tenant"),
        ("# [certificates", '[certificates."a"]\ntenant = "a"\nroles = ["king"]\n#', "king is no role"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(tmp_path: Path, before: str, after: str, told: str) -> None:
    """What is missing, misspelt or open by mistake keeps the server from starting, in one line that names it."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        Policy.load(_changed(tmp_path, before, after))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """There is no fallback to the built-in policy: it may allow more than was meant."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Policy.load(tmp_path / "policy.toml")


def test_reflection_may_be_opened(tmp_path: Path) -> None:
    """An operator may let anyone see what is served."""
    line = 'ServerReflectionInfo = ["viewer", "annotator", "service", "admin"]'
    policy = Policy.load(_changed(tmp_path, line, 'ServerReflectionInfo = ["anyone"]'))
    assert "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" in policy.open_methods


def test_certificates_may_be_listed(tmp_path: Path) -> None:
    """A name of a certificate stands for a tenant and roles."""
    entry = '[certificates."gateway.example"]\ntenant = "st-mary"\nroles = ["service"]\n# [certificates'
    policy = Policy.load(_changed(tmp_path, "# [certificates", entry))
    known = Identity("gateway.example", "st-mary", frozenset({Role.SERVICE}))
    assert policy.certificates == {"gateway.example": known}
