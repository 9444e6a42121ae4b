"""What the decoder is told by its environment."""

from __future__ import annotations

from pydantic import Field

from hilum.serving.settings import Port, ServiceSettings


class DecoderSettings(ServiceSettings):
    """Settings of the decoder service.

    `local_cache_bytes` bounds the images kept ready for prompts.

    Attributes:
        models: Names of bundles to decode with, as a JSON list.
        encoders: Addresses of encoder replicas, asked in turn for embeddings that no cache has; or of one proxy.
        encoder_timeout_s: Deadline of one such question.
    """

    port: Port = 50052
    models: tuple[str, ...] = Field(default=("lite-medsam-click",), min_length=1)
    encoders: tuple[str, ...] = Field(default=("127.0.0.1:50051",), min_length=1)
    encoder_timeout_s: float = Field(default=5.0, gt=0)
