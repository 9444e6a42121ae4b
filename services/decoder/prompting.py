"""Answering prompts: what holds for a whole call is checked once, prompts as often as they come."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from hilum.codec.embeddings import embedding_values_from_message
from hilum.codec.images import placement_from_message, size_from_message
from hilum.codec.modality import modality_from_message
from hilum.codec.predictions import check_answer_size
from hilum.codec.prompts import prompt_from_message
from hilum.codec.tensors import check_image_size, image_pixels_from_message
from hilum.digest import DIGEST_BYTES
from hilum.errors import InvalidField, LimitExceeded, ModelNotFound
from hilum.serving.audit import audit_record
from hilum.serving.bundle import Manifest
from hilum.serving.calibration import ScoreCalibration
from hilum.serving.overload import ComputePool
from hilum.serving.telemetry import rpc_facts
from hilum.serving.tenant import current_tenant
from hilum.types import Placement
from hilum.v1 import decoder_service_pb2 as pb
from hilum.v1 import image_pb2
from services.decoder.answers import results_to_messages, timings_to_message
from services.decoder.calibration import calibration_for
from services.decoder.decoding import DecodeTimings, Decoding
from services.decoder.embeddings import HotImage, HotImages, Origin
from services.decoder.refinement import Patch

MAX_PROMPTS = 256


@dataclass(frozen=True)
class PromptedImage:
    """What holds for all prompts of a call.

    Attributes:
        request: The request without which it would not be; its prompts do not count here.
        hot: The image.
        origin: Where its embedding was found.
        placement: Where the encoded crop lies, None for the whole image.
        patch: Intensities for refinement, None without.
        calibration: What scores are worth, None where that is not known.
    """

    request: pb.PredictMasksRequest
    hot: HotImage
    origin: Origin
    placement: Placement | None
    patch: Patch | None
    calibration: ScoreCalibration | None

    @property
    def full_size(self) -> tuple[int, int]:
        """(height, width) of the full image."""
        return self.placement.full_size if self.placement else self.hot.image_size

    @property
    def manifest(self) -> Manifest:
        """Of the image's model."""
        return self.hot.model.bundle.manifest


class Prompting:
    """Answers prompts over HotImages.

    Args:
        images: Where embeddings are found.
        decoding: The core.
        pool: Threads in which masks are encoded.
        max_image_pixels: Largest full image accepted.
        max_message_bytes: Largest answer.
    """

    def __init__(
        self,
        images: HotImages,
        decoding: Decoding,
        *,
        pool: ComputePool,
        max_image_pixels: int,
        max_message_bytes: int,
    ) -> None:
        self._images = images
        self._decoding = decoding
        self._pool = pool
        self._max_image_pixels = max_image_pixels
        self._max_message_bytes = max_message_bytes

    def refuse_if_full(self) -> None:
        """Raises Overloaded where `answer` would, before anything is done for a call."""
        self._decoding.permits.refuse_if_full()

    async def prompted(self, request: pb.PredictMasksRequest) -> PromptedImage:
        """Returns what holds for all prompts of a call.

        Raises:
            HilumError: What PredictMasks answers to everything but its prompts.
        """
        check_encoding(request.mask_encoding)
        modality = modality_from_message(request.modality, "modality")
        patch = self._patch(request)
        hot, origin = await self.found(request)
        manifest = hot.model.bundle.manifest
        check_revision(request.decoder_revision, manifest)
        placement = None
        if request.HasField("placement"):
            placement = placement_from_message(
                request.placement, "placement", crop_size=hot.image_size, max_pixels=self._max_image_pixels
            )
        cropped = placement is not None and placement.full_size != hot.image_size
        calibration = calibration_for(manifest, modality, simulated=request.simulated, cropped=cropped)
        return PromptedImage(request, hot, origin, placement, patch, calibration)

    async def answer(
        self, image: PromptedImage, prompts: Sequence[image_pb2.Prompt], timings: DecodeTimings
    ) -> pb.PredictMasksResponse:
        """Returns the masks of prompts.

        Raises:
            HilumError: What PredictMasks answers to prompts.
        """
        request, manifest, full_size = image.request, image.manifest, image.full_size
        check_number(prompts)
        check_answer_size(
            request, len(prompts), full_size, manifest.low_res_mask_size, max_bytes=self._max_message_bytes
        )
        parsed = [
            prompt_from_message(prompt, f"prompts[{index}]", full_size, manifest.low_res_mask_size)
            for index, prompt in enumerate(prompts)
        ]
        with rpc_facts().stage("queue"):
            permit = await self._decoding.permits.take()
        try:
            decoded = await self._decoding.predict(
                image.hot,
                parsed,
                placement=image.placement,
                multimask_output=request.multimask_output,
                patch=image.patch,
                timings=timings,
            )
            begin = time.perf_counter()
            results = await self._pool.run(results_to_messages, decoded, request, full_size, image.calibration)
        finally:
            permit.release()
        timings.postprocess_ms += (time.perf_counter() - begin) * 1000
        return pb.PredictMasksResponse(
            results=results,
            model=manifest.name,
            encoder_revision=manifest.encoder_revision,
            decoder_revision=manifest.decoder_revision,
            timings=timings_to_message(timings, image.origin),
        )

    async def found(
        self, request: pb.PredictMasksRequest | pb.GenerateMasksRequest | pb.GenerationCrop, prefix: str = ""
    ) -> tuple[HotImage, Origin]:
        """Returns the image that a request names or brings.

        Args:
            request: What has an embedding_source.
            prefix: Path of it, for errors, with a dot at its end.
        """
        match request.WhichOneof("embedding_source"):
            case "embedding_id":
                if len(request.embedding_id) != DIGEST_BYTES:
                    raise InvalidField(
                        f"has {len(request.embedding_id)} bytes instead of 32", field=f"{prefix}embedding_id"
                    )
                audit_record().concerns("embedding_id", request.embedding_id)
                return await self._images.get(request.embedding_id, current_tenant())
            case "embedding":
                embedding, field = request.embedding, f"{prefix}embedding"
                image_size = size_from_message(embedding.image_size)
                values = embedding_values_from_message(embedding, field)
                check_image_size(image_size, f"{field}.image_size", max_pixels=self._max_image_pixels)
                hot = await self._images.prepare(
                    values,
                    encoder_revision=embedding.encoder_revision,
                    image_size=image_size,
                    input_size=size_from_message(embedding.input_size),
                )
                return hot, Origin.INLINE
            case _:
                raise InvalidField("embedding_id or embedding is required", field=f"{prefix}embedding_source")

    def _patch(self, request: pb.PredictMasksRequest) -> Patch | None:
        if not request.HasField("refinement"):
            return None
        refinement = request.refinement
        if refinement.method != pb.REFINEMENT_METHOD_OTSU_BRIGHT:
            raise InvalidField("must be OTSU_BRIGHT", field="refinement.method")
        values = image_pixels_from_message(
            refinement.patch, "refinement.patch", max_pixels=self._max_image_pixels, colour=False
        )
        return Patch(values, refinement.offset_x_px, refinement.offset_y_px)


def check_number(prompts: Sequence[image_pb2.Prompt]) -> None:
    """Refuses no prompts, and too many: InvalidField, LimitExceeded."""
    if not prompts:
        raise InvalidField("is empty: give at least one prompt", field="prompts")
    if len(prompts) > MAX_PROMPTS:
        raise LimitExceeded(f"{len(prompts)} prompts; at most {MAX_PROMPTS}", field="prompts")


def check_encoding(encoding: image_pb2.MaskEncoding.ValueType) -> None:
    """Refuses an encoding of masks that is not known: InvalidField."""
    if encoding not in image_pb2.MaskEncoding.values():
        raise InvalidField(f"{encoding} is not known here", field="mask_encoding")


def check_revision(wanted: str, manifest: Manifest) -> None:
    """Refuses another decoder than the one served: ModelNotFound."""
    if wanted not in ("", manifest.decoder_revision):
        raise ModelNotFound("this decoder revision is not served here", field="decoder_revision")
