"""What every server is told by its environment: frozen, checked, explained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import SettingsError

from hilum.serving.security_settings import SecuritySettings

# Published in the contract's test vectors, hence no secret: ids made with it can be computed by anyone who has the
# pixels. Good for one machine; a server that others reach is given its own key.
DEVELOPMENT_EMBEDDING_KEY = "68696c756d2e646576656c6f706d656e742e6b65792e6e6f2e7365637265742e"

_MIB = 2**20
_NO_KEY = "must be at least 16 bytes in hex, such as `openssl rand -hex 32` prints"
Port = Annotated[int, Field(ge=0, le=65535)]


class ServiceSettings(SecuritySettings):
    """Settings that all servers share, from environment variables `HILUM_<FIELD>`; each server adds its own.

    Attributes:
        port: Port of the gRPC server; 0 for any free one.
        metrics_port: Port of the Prometheus endpoint; 0 for any free one, unset for no endpoint.
        health_port: Port of a second server that answers health checks only, never with TLS: Kubernetes' gRPC probes
            know none. 0 for any free one, unset for no such server.
        redis_url: Redis or another RESP server, such as redis://127.0.0.1:6379; unset for none.
        audit: Where audit events go: a file's path, or syslog-tls://host:port; unset for nowhere.
        audit_ca: File of the certificates that the syslog server's is checked against; the system's when unset.
        cache_ttl_s: How long Redis keeps a value, in seconds.
        cache_keys: File of AES-256 keys that encrypt values in Redis, the first encrypts, all decrypt; unset for none.
        cache_timeout_ms: Limit of one Redis command, its connection included, in milliseconds.
        local_cache_bytes: Values kept in the process's own memory, in bytes.
        local_ttl_s: How long the process's own memory keeps a value, in seconds: so long a purge may go unheard by a
            process that Redis does not answer.
        max_message_bytes: Largest message received or sent, in bytes.
        max_image_pixels: Largest number of pixels of one image.
        running_permits: Requests computed at once before others wait.
        waiting_permits: Requests of a class that wait for a permit before others are refused.
        reserved_permits: Of `running_permits`, how many batch requests leave free for interactive ones.
        max_held_bytes: Bytes of requests held at once before others are refused.
        stall_s: How long a stream waits for a caller that neither sends nor reads, in seconds.
        compute_threads: Pieces of numerical work that run at once in this process.
        intra_op_threads: Threads of one model run. More than there are idle cores make it slower, not faster.
        drain_s: How long running requests may go on after SIGTERM, in seconds.
        health_interval_s: Time between pings of dependencies, in seconds.
        log_level: Least level that is logged.
        embedding_key: Master key of all tenants' keys, at least 16 bytes in hex.
        embedding_key_file: A file that holds it, instead of `embedding_key`; read at the start.
        stop_with_parent: Drain when standard input ends: a launcher keeps the other end of the pipe, so that no
            server outlives it, however it dies.
    """

    port: Port = 0
    metrics_port: Port | None = None
    health_port: Port | None = None
    redis_url: str | None = Field(default=None, pattern=r"^(rediss?|unix)://", repr=False)  # may hold a password
    audit: str | None = None
    audit_ca: FilePath | None = None
    cache_ttl_s: float = Field(default=24 * 3600, gt=0)
    cache_keys: FilePath | None = None
    cache_timeout_ms: int = Field(default=250, ge=1, le=60_000)
    local_cache_bytes: int = Field(default=256 * _MIB, ge=0)
    local_ttl_s: float = Field(default=3600, gt=0)
    max_message_bytes: int = Field(default=64 * _MIB, ge=_MIB, le=2**31 - 1)
    max_image_pixels: int = Field(default=64_000_000, ge=1)
    running_permits: int = Field(default=4, ge=1)
    waiting_permits: int = Field(default=32, ge=0)
    reserved_permits: int = Field(default=1, ge=0)
    max_held_bytes: int = Field(default=512 * _MIB, ge=_MIB)
    stall_s: float = Field(default=60.0, gt=0)
    compute_threads: int = Field(default=2, ge=1)
    intra_op_threads: int = Field(default=1, ge=1)
    drain_s: float = Field(default=20.0, ge=0)
    health_interval_s: float = Field(default=5.0, gt=0)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    embedding_key: SecretStr = SecretStr(DEVELOPMENT_EMBEDDING_KEY)
    embedding_key_file: Path | None = None
    stop_with_parent: bool = False

    @field_validator("embedding_key")
    @classmethod
    def _is_a_key(cls, key: SecretStr) -> SecretStr:
        if not _is_long_hex(key.get_secret_value()):
            raise ValueError(_NO_KEY)
        return key

    @model_validator(mode="before")
    @classmethod
    def _key_from_file(cls, given: dict[str, Any]) -> dict[str, Any]:
        path = given.get("embedding_key_file")
        if path is None:
            return given
        if "embedding_key" in given:
            raise ValueError("HILUM_EMBEDDING_KEY and HILUM_EMBEDDING_KEY_FILE exclude each other")
        try:
            key = Path(path).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            raise ValueError("HILUM_EMBEDDING_KEY_FILE cannot be read") from None
        if not _is_long_hex(key):
            raise ValueError(f"HILUM_EMBEDDING_KEY_FILE {_NO_KEY}")
        return {**given, "embedding_key": key}

    @model_validator(mode="after")
    def _redis_password_has_a_place(self) -> Self:
        if self.redis_password_file is None:
            return self
        if self.redis_url is None:
            raise ValueError("HILUM_REDIS_PASSWORD_FILE needs HILUM_REDIS_URL")
        if urlsplit(self.redis_url).password is not None:
            raise ValueError("HILUM_REDIS_URL holds a password, and so does HILUM_REDIS_PASSWORD_FILE: give one")
        return self

    @classmethod
    def load(cls) -> Self:
        """Returns the settings of the environment, for an entry point.

        Raises:
            SystemExit: With one line that names the variable and what is wrong with it.
        """
        try:
            return cls()
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            if not fault["loc"]:  # of several settings, which the message names
                raise SystemExit(fault["msg"].removeprefix("Value error, ")) from None
            raise SystemExit(f"HILUM_{str(fault['loc'][0]).upper()}: {fault['msg']}") from None
        except SettingsError as error:
            raise SystemExit(str(error)) from None

    @property
    def embedding_key_bytes(self) -> bytes:
        """The master key; see TenantKeys."""
        return bytes.fromhex(self.embedding_key.get_secret_value())

    @property
    def uses_development_key(self) -> bool:
        """Whether `embedding_key` is the published one."""
        return self.embedding_key.get_secret_value() == DEVELOPMENT_EMBEDDING_KEY


def _is_long_hex(key: str) -> bool:
    try:
        return len(bytes.fromhex(key)) >= 16
    except ValueError:
        return False
