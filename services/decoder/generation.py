"""GenerateMasks: its request as crops to search, and what is found as messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence

from hilum.codec.generation import crop_layer_from_message
from hilum.codec.images import placement_from_message
from hilum.codec.masks import window_to_message
from hilum.errors import InvalidField, ModelMismatch
from hilum.generation import GenerationProgress
from hilum.region import Region
from hilum.serving.overload import ComputePool
from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import image_pb2
from services.decoder.automatic import SearchedCrop
from services.decoder.candidates import Candidate
from services.decoder.embeddings import HotImage

# Far below any message limit, and soon enough for a caller that shows masks as they come.
MESSAGE_BYTES = 2**20
_BYTES_PER_RUN = 5
_MESSAGE_OVERHEAD_BYTES = 256


def whole(image: HotImage) -> SearchedCrop:
    """Returns the image as the first of the crops to search."""
    height, width = image.image_size
    return SearchedCrop(image, Region(0, 0, width, height), 0)


def placed(
    crop: pb.GenerationCrop, field: str, hot: HotImage, image: HotImage, *, max_image_pixels: int
) -> SearchedCrop:
    """Returns a crop of an image.

    Args:
        crop: What the request says of it.
        field: Its path, for errors.
        hot: It, ready for prompts.
        image: The whole image.
        max_image_pixels: Largest full image accepted.

    Raises:
        InvalidField: The layer is out of range, or the placement is missing or of another image.
        OutsideImage: It does not lie inside the image.
        ModelMismatch: Another encoder made it.
    """
    layer = crop_layer_from_message(crop, field)
    path = f"{field}.placement"
    placement = placement_from_message(crop.placement, path, crop_size=hot.image_size, max_pixels=max_image_pixels)
    if placement.full_size != image.image_size:
        raise InvalidField("is not the size of the image that was encoded", field=f"{path}.full_size")
    if hot.model is not image.model:
        raise ModelMismatch("crop and image come from different encoders; encode both with one model", field=field)
    height, width = hot.image_size
    return SearchedCrop(hot, Region(placement.offset_x_px, placement.offset_y_px, width, height), layer)


async def messages(
    events: AsyncGenerator[GenerationProgress | list[Candidate], None],
    size: tuple[int, int],
    *,
    packed: bool,
    pool: ComputePool,
) -> AsyncGenerator[pb.GenerateMasksResponse, None]:
    """Yields a message per step of progress, then the masks of an image (height, width), several a message.

    Args:
        events: What the search yields.
        size: (height, width) of the image.
        packed: Packed bits instead of run lengths.
        pool: Threads in which masks are encoded.
    """
    async for event in events:
        if isinstance(event, GenerationProgress):
            progress = pb.GenerationProgress(
                points_done=event.points_done, points_total=event.points_total, candidates=event.candidates
            )
            yield pb.GenerateMasksResponse(progress=progress)
        else:
            for portion in _portions(event, size, packed=packed):
                yield pb.GenerateMasksResponse(masks=await pool.run(_encoded, portion, size, packed=packed))


def _portions(found: Sequence[Candidate], size: tuple[int, int], *, packed: bool) -> Iterator[list[Candidate]]:
    portion: list[Candidate] = []
    taken = 0
    for candidate in found:
        left, _, right, _ = candidate.bounds
        # A run that goes on in the next column is cut in two by the background above and below the window.
        runs = len(candidate.runs) + 2 * (right - left + 1)
        wanted = _MESSAGE_OVERHEAD_BYTES + (size[0] * -(-size[1] // 8) if packed else _BYTES_PER_RUN * runs)
        if portion and taken + wanted > MESSAGE_BYTES:
            yield portion
            portion, taken = [], 0
        portion.append(candidate)
        taken += wanted
    if portion:
        yield portion


def _encoded(found: Sequence[Candidate], size: tuple[int, int], *, packed: bool) -> pb.GeneratedMasks:
    return pb.GeneratedMasks(masks=[_mask(candidate, size, packed=packed) for candidate in found])


def _mask(found: Candidate, size: tuple[int, int], *, packed: bool) -> pb.GeneratedMask:
    left, top, right, bottom = found.bounds
    crop = found.crop
    return pb.GeneratedMask(
        mask=pb.PredictedMask(
            mask=window_to_message(found.mask(), row=top, column=left, size=size, packed=packed),
            iou_prediction=found.iou_prediction,
            stability_score=found.stability_score,
            area_px=found.area,
            bounding_box=image_pb2.Box(x_min=left - 0.5, y_min=top - 0.5, x_max=right + 0.5, y_max=bottom + 0.5),
        ),
        point=image_pb2.Point(x=found.point[0], y=found.point[1]),
        crop_box=image_pb2.Box(
            x_min=crop.x - 0.5, y_min=crop.y - 0.5, x_max=crop.x + crop.width - 0.5, y_max=crop.y + crop.height - 0.5
        ),
    )
