"""What the fusion service is given: images, targets and voxels as messages."""

from collections.abc import Iterator

import numpy as np

from hilum.codec.images import geometry_to_message, mapping_to_message
from hilum.codec.masks import mask_to_message
from hilum.codec.modality import modality_to_message
from hilum.codec.prompts import prompt_to_message
from hilum.codec.tensors import tensor_to_message
from hilum.digest import little_endian
from hilum.types import BoolMask, Image, IntensityMapping, Prompt, TargetPair, Volume
from hilum.v1 import fusion_service_pb2 as pb

_VOXEL_CHUNK_BYTES = 8 * 1024 * 1024


def fusion_image_to_message(image: Image, mapping: IntensityMapping | None) -> pb.FusionImage:
    """Returns an image with how its values become grey levels, its own way where `mapping` is None."""
    return pb.FusionImage(
        pixels=tensor_to_message(image.pixels),
        geometry=geometry_to_message(image.geometry),
        intensity_mapping=mapping_to_message(mapping or image.default_mapping),
        padding_value=image.padding_value,
        modality=modality_to_message(image.source),
        group=image.group,
    )


def target_pair_to_message(pair: TargetPair) -> pb.TargetPair:
    """Returns a target in both images, each outlined or to be outlined by the decoder."""
    return pb.TargetPair(in_fixed=_target(pair.in_fixed), in_moving=_target(pair.in_moving))


def voxel_pieces(volume: Volume) -> Iterator[bytes]:
    """Yields the voxels as they travel, a piece a message."""
    voxels = little_endian(volume.voxels).reshape(-1).view(np.uint8)
    for begin in range(0, len(voxels), _VOXEL_CHUNK_BYTES):
        yield voxels[begin : begin + _VOXEL_CHUNK_BYTES].tobytes()


def _target(outline: BoolMask | Prompt) -> pb.Target:
    if isinstance(outline, Prompt):
        return pb.Target(prompt=prompt_to_message(outline))
    return pb.Target(mask=mask_to_message(outline))
