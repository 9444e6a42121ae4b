import os

import pytest
from pydantic import ValidationError

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
    text = ServiceSettings.__doc__ or ""
    explained = [line.split(":")[0].strip() for line in text.partition("Attributes:")[2].splitlines() if ":" in line]
    assert [name for name in explained if name in ServiceSettings.model_fields] == list(ServiceSettings.model_fields)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("::", False), ("a.b", False)],
)
def test_loopback_is_recognised(host: str, loopback: bool) -> None:
    """Whether others can reach the server decides whether the published key is warned about."""
    assert ServiceSettings(host=host).is_loopback is loopback
