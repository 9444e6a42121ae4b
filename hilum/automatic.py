"""Finding everything in an image through encoder and decoder: the image and its crops are encoded, digest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hilum.codec.generation import generated_mask_from_message, parameters_to_message
from hilum.codec.images import placement_to_message
from hilum.connection import EMBEDDING_ID_KEY, streamed
from hilum.errors import EmbeddingNotFound, InternalError, InvalidField, ModelMismatch
from hilum.generation import GeneratedMask, Generation, GenerationParameters, GenerationProgress, crop_regions
from hilum.segmentation import SegmentationCalls
from hilum.types import Image, IntensityMapping
from hilum.v1 import decoder_service_pb2 as pb
from hilum.view import View

MAX_CROP_LAYERS = 2

GenerationCallback = Callable[[GenerationProgress], None]


class GenerationCalls(SegmentationCalls):
    """Calls that find everything in an image."""

    async def generate_masks(
        self,
        image: Image,
        *,
        parameters: GenerationParameters | None = None,
        mapping: IntensityMapping | None = None,
        model: str = "",
        on_progress: GenerationCallback | None = None,
    ) -> Generation:
        """Returns masks of everything in an image, in pixels of the image, the surest first.

        A grid of points is prompted, what the model is sure of is kept, and duplicates are removed, as
        segment-anything's SamAutomaticMaskGenerator does. The image, and its crops where `crop_n_layers` asks for them,
        are encoded when no service knows them yet.

        Args:
            image: The image.
            parameters: Grid and thresholds; segment-anything's own where None.
            mapping: How values become grey levels; the image's own default where None.
            model: Name of a model that was trained on points; "" for the server's default.
            on_progress: Called after every batch of points.

        Raises:
            PromptNotSupported: The model was not trained on points.
            HilumError: What a service answered; see hilum.errors.
        """
        chosen = parameters or GenerationParameters()
        if not 0 <= chosen.crop_n_layers <= MAX_CROP_LAYERS:
            raise InvalidField(f"must lie between 0 and {MAX_CROP_LAYERS}", field="crop_n_layers")
        if not 0 <= chosen.crop_overlap_ratio < 1:
            raise InvalidField("must lie in [0, 1)", field="crop_overlap_ratio")
        crops = crop_regions(image.size, chosen.crop_n_layers, chosen.crop_overlap_ratio)
        views = [View.of(image, mapping, model, region) for region in (None, *(region for region, _ in crops))]
        request = parameters_to_message(chosen)
        for view, (_, layer) in zip(views[1:], crops, strict=True):
            if view.placement is not None:
                request.crops.add(placement=placement_to_message(view.placement), layer=layer)
        try:
            key = await self._with_ids(request, views)
            masks, summary = await self._generate(request, key, len(views), on_progress)
        except (EmbeddingNotFound, ModelMismatch):
            # As for prompts: embeddings that travel with the request work whatever the caches do.
            key = await self._with_embeddings(request, views)
            masks, summary = await self._generate(request, key, len(views), on_progress)
        return Generation(
            masks=tuple(masks),
            model=summary.model,
            encoder_revision=summary.encoder_revision,
            decoder_revision=summary.decoder_revision,
            parameters=chosen,
            source=image.source,
        )

    async def _with_ids(self, request: pb.GenerateMasksRequest, views: Sequence[View]) -> bytes:
        """Fills in the ids of what is searched; returns that of the image."""
        places: tuple[pb.GenerateMasksRequest | pb.GenerationCrop, ...] = (request, *request.crops)
        for place, view in zip(places, views, strict=True):
            place.embedding_id = self._known_ids.get(view.key) or (await self._encode(view)).embedding_id
        return request.embedding_id

    async def _with_embeddings(self, request: pb.GenerateMasksRequest, views: Sequence[View]) -> bytes:
        """Fills in the embeddings of what is searched; returns the image's id."""
        places: tuple[pb.GenerateMasksRequest | pb.GenerationCrop, ...] = (request, *request.crops)
        ids = []
        for place, view in zip(places, views, strict=True):
            again = await self._encode(view, return_embedding=True)
            place.embedding.CopyFrom(again.embedding)
            ids.append(again.embedding_id)
        return ids[0]

    async def _generate(
        self, request: pb.GenerateMasksRequest, identity: bytes, crops: int, on_progress: GenerationCallback | None
    ) -> tuple[list[GeneratedMask], pb.GenerationSummary]:
        metadata = (*self._segmentation_metadata, (EMBEDDING_ID_KEY, identity.hex()))

        async def ask(timeout_s: float) -> tuple[list[GeneratedMask], pb.GenerationSummary]:
            found: list[GeneratedMask] = []
            async for answer in streamed(self._decoder.GenerateMasks(request, timeout=timeout_s, metadata=metadata)):
                match answer.WhichOneof("event"):
                    case "masks":
                        found += [generated_mask_from_message(message, "masks") for message in answer.masks.masks]
                    case "progress" if on_progress is not None:
                        step = answer.progress
                        on_progress(GenerationProgress(step.points_done, step.points_total, step.candidates))
                    case "summary":
                        return found, answer.summary
            raise InternalError("the service ended the stream without a summary")

        # One call for the image and all its crops: its deadline grows with them.
        return await self._segmentation_patience.answered(ask, calls=crops)
