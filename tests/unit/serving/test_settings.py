import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from hilum.serving.security_settings import SecuritySettings
from hilum.serving.settings import DEVELOPMENT_EMBEDDING_KEY, ServiceSettings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("HILUM_"):
            monkeypatch.delenv(name)


def test_defaults_serve_this_machine_only() -> None:
    """Without any setting a server listens on loopback, needs no Redis, and has a key."""
    settings = ServiceSettings.load()
    assert (settings.host, settings.redis_url, settings.is_loopback) == ("127.0.0.1", None, True)
    assert settings.max_message_bytes == 64 * 2**20
    assert settings.uses_development_key
    assert settings.embedding_key_bytes == bytes.fromhex(DEVELOPMENT_EMBEDDING_KEY)


def test_the_environment_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """HILUM_<FIELD> sets a field."""
    monkeypatch.setenv("HILUM_PORT", "50051")
    monkeypatch.setenv("HILUM_REDIS_URL", "redis://cache:6379/0")
    monkeypatch.setenv("HILUM_EMBEDDING_KEY", "00" * 16)
    settings = ServiceSettings.load()
    assert (settings.port, settings.redis_url) == (50051, "redis://cache:6379/0")
    assert settings.embedding_key_bytes == bytes(16)
    assert not settings.uses_development_key


def test_an_empty_variable_means_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that a manifest leaves empty is the default, not an error."""
    monkeypatch.setenv("HILUM_REDIS_URL", "")
    assert ServiceSettings.load().redis_url is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HILUM_PORT", "99999"),
        ("HILUM_PORT", "http"),
        ("HILUM_REDIS_URL", "localhost:6379"),
        ("HILUM_CACHE_TTL_S", "0"),
        ("HILUM_RUNNING_PERMITS", "0"),
        ("HILUM_LOG_LEVEL", "loud"),
        ("HILUM_TENANT_SOURCE", "anybody"),
        ("HILUM_EMBEDDING_KEY", "abcd"),
        ("HILUM_EMBEDDING_KEY", "no hex at all, but long enough for one"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """A bad value ends the entry point with one line, without the value: it may be a secret."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as caught:
        ServiceSettings.load()
    line = str(caught.value)
    assert line.startswith(f"{variable}: ")
    assert "\n" not in line
    if "KEY" in variable:
        assert value not in line


def test_settings_are_frozen() -> None:
    """Nothing changes a setting after the start."""
    with pytest.raises(ValidationError):
        ServiceSettings.load().port = 1


def test_secrets_are_not_shown() -> None:
    """Printing the settings prints neither the key nor a password in the Redis address."""
    shown = repr(ServiceSettings(redis_url="redis://:opensesame@cache:6379"))
    assert "opensesame" not in shown
    assert DEVELOPMENT_EMBEDDING_KEY not in shown


def test_every_setting_is_explained() -> None:
    """The docstring explains every field, and no other."""
    texts = [kind.__doc__ or "" for kind in (SecuritySettings, ServiceSettings)]
    lines = [line for text in texts for line in text.partition("Attributes:")[2].splitlines()]
    explained = [line.split(":")[0].strip() for line in lines if ":" in line]
    assert [name for name in explained if name in ServiceSettings.model_fields] == list(ServiceSettings.model_fields)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("::", False), ("a.b", False)],
)
def test_loopback_is_recognised(host: str, loopback: bool) -> None:
    """Whether others can reach the server decides whether it needs TLS, and its own key."""
    assert ServiceSettings(host=host, allow_insecure=True).is_loopback is loopback


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"HOST": "::"}, ["HILUM_HOST", "HILUM_TLS_CERTIFICATE", "HILUM_ALLOW_INSECURE"]),
        ({"HOST": "encoder", "TENANT_SOURCE": "metadata"}, ["HILUM_HOST"]),
        ({"TLS_KEY": "/k"}, ["HILUM_TLS_CERTIFICATE"]),
        ({"TLS_CLIENT_CA": "/ca"}, ["HILUM_TLS_CERTIFICATE"]),
        ({"JWKS": "/jwks", "JWT_ISSUER": "us"}, ["HILUM_JWT_AUDIENCE"]),
        ({"TENANT_SOURCE": "identity"}, ["HILUM_JWKS", "HILUM_TLS_CLIENT_CA"]),
        ({"EMBEDDING_KEY_FILE": "/nowhere"}, ["HILUM_EMBEDDING_KEY_FILE"]),
        ({"EMBEDDING_KEY_FILE": "/etc/hostname"}, ["HILUM_EMBEDDING_KEY_FILE"]),
        ({"EMBEDDING_KEY_FILE": "/k", "EMBEDDING_KEY": "00" * 16}, ["HILUM_EMBEDDING_KEY_FILE"]),
        ({"REDIS_PASSWORD_FILE": "/p"}, ["HILUM_REDIS_URL"]),
        ({"REDIS_URL": "redis://me:secret@cache", "REDIS_PASSWORD_FILE": "/p"}, ["HILUM_REDIS_PASSWORD_FILE"]),
    ],
)
def test_settings_that_do_not_fit_together_are_one_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], names: list[str]
) -> None:
    """What would be unsafe, or is not said in full, ends the entry point with one line that names what to set."""
    for name, value in variables.items():
        monkeypatch.setenv(f"HILUM_{name}", value)
    with pytest.raises(SystemExit) as ended:
        ServiceSettings.load()
    line = str(ended.value)
    assert "\n" not in line
    assert "secret" not in line
    assert [name for name in names if name not in line] == []


def test_the_key_of_embedding_ids_may_lie_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A secret that is mounted as a file is read from there, and is not in the environment."""
    (tmp_path / "key").write_text("0f" * 32 + "\n")
    monkeypatch.setenv("HILUM_EMBEDDING_KEY_FILE", str(tmp_path / "key"))
    settings = ServiceSettings.load()
    assert settings.embedding_key_bytes == b"\x0f" * 32
    assert not settings.uses_development_key


def test_listening_beyond_loopback_takes_tls_or_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """With TLS, or when told that something else encrypts, a server may listen everywhere."""
    monkeypatch.setenv("HILUM_HOST", "::")
    monkeypatch.setenv("HILUM_ALLOW_INSECURE", "1")
    assert ServiceSettings.load().host == "::"
    monkeypatch.delenv("HILUM_ALLOW_INSECURE")
    monkeypatch.setenv("HILUM_TLS_CERTIFICATE", "/certificate")
    monkeypatch.setenv("HILUM_TLS_KEY", "/key")
    assert ServiceSettings.load().tls_key == Path("/key")
