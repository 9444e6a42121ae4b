"""What fusion is told by its environment."""

from __future__ import annotations

from pydantic import Field

from hilum.serving.settings import Port, ServiceSettings


class FusionSettings(ServiceSettings):
    """Settings of the fusion service.

    Attributes:
        max_image_pixels: Largest number of pixels of one image, 4096 x 4096 by default: resampling and pyramids hold
            several floats a pixel, so that one call takes about 1 GB at that size.
        encoder: Address of the encoder, for targets given as prompts.
        decoder: Address of the decoder.
        segmentation_timeout_s: Deadline of one call to them.
        max_volume_bytes: Largest volume projected or posed, or two volumes registered together; held in memory.
        max_held_bytes: Bytes of requests held at once, volumes that are still arriving counted in full.
    """

    port: Port = 50053
    max_image_pixels: int = Field(default=1 << 24, ge=1)
    encoder: str = "127.0.0.1:50051"
    decoder: str = "127.0.0.1:50052"
    segmentation_timeout_s: float = Field(default=30.0, gt=0)
    max_volume_bytes: int = Field(default=1024 * 2**20, ge=1)
    max_held_bytes: int = Field(default=2048 * 2**20, ge=2**20)
