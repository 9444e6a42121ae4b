"""What the encoder is told by its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from hilum.serving.settings import Port, ServiceSettings


class EncoderSettings(ServiceSettings):
    """Settings of the encoder service.

    Attributes:
        models: Names of bundles to serve, the default first, as a JSON list.
        backend: "onnx": in this process on CPU. "triton": a tritonserver.
        triton_url: The tritonserver's gRPC address, host:port.
        triton_ca: Authorities of a Triton server that speaks TLS, PEM; unset for a plain connection. This service's own
            certificate is shown to it.
        triton_timeout_s: Deadline of one inference, its wait in Triton's queue included.
        niceness: Added to the process's own, as nice(1) does, before anything runs: 19 for an encoder that encodes
            studies ahead of time on the cores of a decoder.
    """

    port: Port = 50051
    models: tuple[str, ...] = Field(default=("lite-medsam-click",), min_length=1)
    backend: Literal["onnx", "triton"] = "onnx"
    triton_url: str = "127.0.0.1:8001"
    triton_ca: Path | None = None
    triton_timeout_s: float = Field(default=30.0, gt=0)
    niceness: int = Field(default=0, ge=0, le=19)
