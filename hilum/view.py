"""What of an image is encoded, as the client asks for it."""

from __future__ import annotations

from dataclasses import dataclass

from hilum.codec.images import EncodingOptions, options_to_message
from hilum.codec.tensors import tensor_to_message
from hilum.digest import image_digest
from hilum.region import Region
from hilum.types import Image, IntensityMapping, Pixels, Placement
from hilum.v1 import encoder_service_pb2 as encoder_pb


@dataclass(frozen=True)
class View:
    """What of an image is encoded: its pixels or a crop of them, under encoding options.

    Attributes:
        pixels: (height, width) or (height, width, 3) of what is encoded.
        options: Model, intensity mapping, pixel aspect, padding, group.
        placement: Where a crop lies in the image, None for the whole image.
        digest: Image digest of the pixels.
    """

    pixels: Pixels
    options: EncodingOptions
    placement: Placement | None
    digest: bytes

    @property
    def key(self) -> tuple[bytes, EncodingOptions]:
        """What decides the embedding's id on one server."""
        return self.digest, self.options

    @classmethod
    def of(cls, image: Image, mapping: IntensityMapping | None, model: str, region: Region | None) -> View:
        """Returns the view of an image or a region of it; the image's own default mapping where None."""
        options = EncodingOptions(
            mapping or image.default_mapping, model, image.geometry.pixel_aspect, image.padding_value, image.group
        )
        if region is None:
            return cls(image.pixels, options, None, image_digest(image.pixels))
        crop = image.pixels[region.y : region.y + region.height, region.x : region.x + region.width]
        return cls(crop, options, Placement(region.x, region.y, image.size), image_digest(crop))

    def request(self, *, with_pixels: bool, return_embedding: bool = False) -> encoder_pb.EncodeImageRequest:
        """Returns the request to encode it."""
        return encoder_pb.EncodeImageRequest(
            image_digest=self.digest,
            options=options_to_message(self.options),
            pixels=tensor_to_message(self.pixels) if with_pixels else None,
            return_embedding=return_embedding,
        )
