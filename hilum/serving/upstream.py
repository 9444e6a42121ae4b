"""Channels from one service to another, opened as the settings say."""

from __future__ import annotations

from functools import partial

import grpc.aio

from hilum.connection import open_channel
from hilum.errors import ConfigurationError
from hilum.serving.on_behalf import OnBehalf
from hilum.serving.security_settings import SecuritySettings
from hilum.serving.telemetry import Telemetry
from hilum.tls import Tls


def open_upstream(address: str, audience: str, settings: SecuritySettings, telemetry: Telemetry) -> grpc.aio.Channel:
    """Returns a channel to another service.

    With identities, every call over it is made on behalf of whoever made the RPC being handled.

    Args:
        address: In gRPC's notation.
        audience: Name of the service that is called, such as "encoder".
        settings: Certificates and the service's key.
        telemetry: Of the calling service; names it, and hears of files that are of no use.

    Raises:
        ConfigurationError: A file is missing or cannot be used.
    """
    tls = None
    if settings.upstream_ca is not None:
        tls = Tls(settings.upstream_ca, settings.tls_certificate, settings.tls_key)
    token = None
    if settings.tenant_source == "identity":
        if settings.service_key is None:
            raise ConfigurationError(
                f"HILUM_TENANT_SOURCE=identity needs HILUM_SERVICE_KEY, with which {telemetry.service} calls "
                f"{audience} on behalf of its callers"
            )
        on_behalf = OnBehalf(settings.service_key, telemetry.service, refused=telemetry.file_refused("service_key"))
        token = partial(on_behalf.token, audience)
    try:
        return open_channel(
            address,
            tls=tls,
            token=token,
            allow_insecure=settings.allow_insecure,
            tracer=telemetry.spans.tracer,
        )
    except (OSError, ConfigurationError) as error:
        raise ConfigurationError(f"the channel to {audience} cannot be opened: {error}") from None
