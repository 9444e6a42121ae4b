"""The client for programs without asyncio: AsyncClient in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import grpc.aio
from numpy.typing import ArrayLike

from hilum.automatic import GenerationCallback
from hilum.client import DEFAULT_TIMEOUT_S, AsyncClient
from hilum.connection import Endpoints
from hilum.dragging import Drag
from hilum.evaluation import RegistrationEvaluation
from hilum.fusion_capabilities import FusionCapabilities
from hilum.fusion_style import FusionStyle
from hilum.generation import Generation, GenerationParameters
from hilum.geometry import Float
from hilum.multimodal import PointUnit
from hilum.patience import DEFAULT_ATTEMPTS
from hilum.point_stream import PointStream
from hilum.pose import EstimatedPose, Radiograph
from hilum.region import Region
from hilum.registration_options import LandmarkPair, RegistrationOptions
from hilum.secured_channel import TokenProvider
from hilum.segmentation import EncodeFailure, EncodeSuccess, Purge, RegionChoice
from hilum.served_model import Model
from hilum.tls import Tls
from hilum.transform import Transform
from hilum.types import (
    BoolMask,
    EncodedImage,
    Fusion,
    Image,
    IntensityMapping,
    Pixels,
    Prediction,
    ProjectionAxis,
    ProjectionMethod,
    Prompt,
    Registration,
    RegistrationProgress,
    TargetPair,
    ViewRelation,
    Volume,
)
from hilum.volume_registration import VolumeRegistrationOptions, VolumeRegistrationResult

Answer = TypeVar("Answer")
_LOOK_FOR_SIGNALS_S = 0.2
ProgressCallback = Callable[[RegistrationProgress], None]


class Client:
    """AsyncClient for code without asyncio: the same calls, each waiting for its answer. Safe to share between threads.

    It takes the arguments that AsyncClient takes.

    Example:
        with Client() as client:
            prediction = client.predict(read_image("slice.dcm"), [Prompt(box=Box(40, 60, 120, 150))])
    """

    def __init__(
        self,
        endpoints: Endpoints | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tenant: str = "",
        priority: Literal["interactive", "batch"] | None = None,
        attempts: int = DEFAULT_ATTEMPTS,
        tls: Tls | None = None,
        token: TokenProvider | Path | None = None,
        channel: Callable[[str], grpc.aio.Channel] | None = None,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hilum-client", daemon=True)
        self._thread.start()

        async def connect() -> AsyncClient:
            return AsyncClient(
                endpoints,
                timeout_s=timeout_s,
                tenant=tenant,
                priority=priority,
                attempts=attempts,
                tls=tls,
                token=token,
                channel=channel,
            )

        try:
            self._client = self._wait(connect())
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channels and ends the thread; a second call does nothing."""
        if self._loop.is_closed():
            return
        self._wait(self._client.close())
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def models(self) -> list[Model]:
        """See AsyncClient.models."""
        return self._wait(self._client.models())

    def encode(
        self,
        image: Image,
        *,
        mapping: IntensityMapping | None = None,
        model: str = "",
        region: Region | None = None,
    ) -> EncodedImage:
        """See AsyncClient.encode."""
        return self._wait(self._client.encode(image, mapping=mapping, model=model, region=region))

    def find_missing(
        self, images: Sequence[Image], *, mapping: IntensityMapping | None = None, model: str = ""
    ) -> list[int]:
        """See AsyncClient.find_missing."""
        return self._wait(self._client.find_missing(images, mapping=mapping, model=model))

    def encode_many(
        self,
        images: Sequence[Image],
        *,
        mapping: IntensityMapping | None = None,
        model: str = "",
        on_outcome: Callable[[EncodeSuccess | EncodeFailure], None] | None = None,
    ) -> list[EncodeSuccess | EncodeFailure]:
        """Returns one outcome per image in the order of `images`; see AsyncClient.encode_many.

        Args:
            images: The images.
            mapping: As AsyncClient.encode.
            model: As AsyncClient.encode.
            on_outcome: Called, in the client's thread, as each image ends.
        """

        async def collect() -> list[EncodeSuccess | EncodeFailure]:
            outcomes = []
            async for outcome in self._client.encode_many(images, mapping=mapping, model=model):
                outcomes.append(outcome)
                if on_outcome is not None:
                    on_outcome(outcome)
            return sorted(outcomes, key=lambda outcome: outcome.index)

        return self._wait(collect())

    def purge(self, *, images: Sequence[Image] = (), digests: Sequence[bytes] = (), group: str = "") -> Purge:
        """See AsyncClient.purge."""
        return self._wait(self._client.purge(images=images, digests=digests, group=group))

    def predict(
        self,
        image: Image,
        prompts: Sequence[Prompt],
        *,
        mapping: IntensityMapping | None = None,
        model: str = "",
        region: RegionChoice = "auto",
        multimask_output: bool | None = None,
        bright_target: bool = False,
        refine_bright: bool = False,
        return_low_res_masks: bool = False,
    ) -> Prediction:
        """See AsyncClient.predict."""
        return self._wait(
            self._client.predict(
                image,
                prompts,
                mapping=mapping,
                model=model,
                region=region,
                multimask_output=multimask_output,
                bright_target=bright_target,
                refine_bright=refine_bright,
                return_low_res_masks=return_low_res_masks,
            )
        )

    @contextmanager
    def dragging(
        self,
        image: Image,
        *,
        mapping: IntensityMapping | None = None,
        model: str = "",
        region: Region | None = None,
        multimask_output: bool = False,
    ) -> Iterator[Drag]:
        """Yields a stream for prompts that replace each other; see AsyncClient.dragging."""
        work = self._client.dragging(
            image, mapping=mapping, model=model, region=region, multimask_output=multimask_output
        )
        stream = self._wait(work)
        try:
            yield Drag(lambda prompts: self._wait(stream.move(prompts)), lambda: self._wait(stream.answer()))
        finally:
            self._wait(stream.__aexit__(None, None, None))

    def generate_masks(
        self,
        image: Image,
        *,
        parameters: GenerationParameters | None = None,
        mapping: IntensityMapping | None = None,
        model: str = "",
        on_progress: GenerationCallback | None = None,
    ) -> Generation:
        """See AsyncClient.generate_masks; `on_progress` is called in the client's thread."""
        return self._wait(
            self._client.generate_masks(
                image, parameters=parameters, mapping=mapping, model=model, on_progress=on_progress
            )
        )

    def fusion_capabilities(self) -> FusionCapabilities:
        """See AsyncClient.fusion_capabilities."""
        return self._wait(self._client.fusion_capabilities())

    def project(
        self,
        volume: Volume,
        *,
        axis: ProjectionAxis,
        method: ProjectionMethod,
        slab: tuple[int, int] | None = None,
    ) -> Image:
        """See AsyncClient.project."""
        return self._wait(self._client.project(volume, axis=axis, method=method, slab=slab))

    def estimate_pose(
        self,
        volume: Volume,
        radiographs: Sequence[Radiograph],
        *,
        initial_pose: ArrayLike | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> EstimatedPose:
        """See AsyncClient.estimate_pose; `on_progress` is called in the client's thread."""
        return self._wait(
            self._client.estimate_pose(volume, radiographs, initial_pose=initial_pose, on_progress=on_progress)
        )

    def register(
        self,
        fixed: Image,
        moving: Image,
        *,
        view_relation: ViewRelation,
        targets: Sequence[TargetPair] = (),
        options: RegistrationOptions | None = None,
        fixed_mapping: IntensityMapping | None = None,
        moving_mapping: IntensityMapping | None = None,
        model: str = "",
        on_progress: ProgressCallback | None = None,
    ) -> Registration:
        """See AsyncClient.register; `on_progress` is called in the client's thread."""
        return self._wait(
            self._client.register(
                fixed,
                moving,
                view_relation=view_relation,
                targets=targets,
                options=options,
                fixed_mapping=fixed_mapping,
                moving_mapping=moving_mapping,
                model=model,
                on_progress=on_progress,
            )
        )

    def register_volumes(
        self,
        fixed: Volume,
        moving: Volume,
        *,
        options: VolumeRegistrationOptions | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> VolumeRegistrationResult:
        """See AsyncClient.register_volumes; `on_progress` is called in the client's thread."""
        return self._wait(self._client.register_volumes(fixed, moving, options=options, on_progress=on_progress))

    def fuse(
        self,
        fixed: Image,
        moving: Image,
        transform: Transform | bytes,
        *,
        fixed_mapping: IntensityMapping | None = None,
        moving_mapping: IntensityMapping | None = None,
        accepted_flags: Sequence[str] = (),
        style: FusionStyle | None = None,
        target: BoolMask | None = None,
    ) -> Fusion:
        """See AsyncClient.fuse."""
        return self._wait(
            self._client.fuse(
                fixed,
                moving,
                transform,
                fixed_mapping=fixed_mapping,
                moving_mapping=moving_mapping,
                accepted_flags=accepted_flags,
                style=style,
                target=target,
            )
        )

    def resample(
        self,
        moving: Image,
        transform: Transform | bytes,
        *,
        accepted_flags: Sequence[str] = (),
        nearest: bool = False,
        background_value: float = 0.0,
    ) -> Pixels:
        """See AsyncClient.resample."""
        return self._wait(
            self._client.resample(
                moving,
                transform,
                accepted_flags=accepted_flags,
                nearest=nearest,
                background_value=background_value,
            )
        )

    def evaluate_registration(
        self,
        transform: Transform | bytes,
        *,
        targets: Sequence[tuple[BoolMask, BoolMask]] = (),
        landmarks: Sequence[LandmarkPair] = (),
    ) -> RegistrationEvaluation:
        """See AsyncClient.evaluate_registration."""
        return self._wait(self._client.evaluate_registration(transform, targets=targets, landmarks=landmarks))

    def transform_points(
        self, transform: Transform | bytes, points: ArrayLike, *, unit: PointUnit = "px", inverse: bool = False
    ) -> Float:
        """See AsyncClient.transform_points."""
        return self._wait(self._client.transform_points(transform, points, unit=unit, inverse=inverse))

    @contextmanager
    def point_stream(
        self, transform: Transform | bytes, *, unit: PointUnit = "px", inverse: bool = False
    ) -> Iterator[Callable[[ArrayLike], Float]]:
        """Yields a function that moves points; see AsyncClient.point_stream."""

        async def opened() -> PointStream:
            return self._client.point_stream(transform, unit=unit, inverse=inverse)

        stream = self._wait(opened())
        try:
            yield lambda points: self._wait(stream.move(points))
        finally:
            self._wait(stream.__aexit__(None, None, None))

    def _wait(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            # Ctrl-C between Python's last look for signals and the thread's sleep would be seen when it wakes only.
            while not future.done():
                wait([future], _LOOK_FOR_SIGNALS_S)
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise
