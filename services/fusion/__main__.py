"""Runs the fusion service: `python -m services.fusion`. Settings: environment variables HILUM_*."""

from __future__ import annotations

import asyncio
import sys

from hilum.connection import open_channel
from hilum.serving.overload import ComputePool, Permits
from hilum.serving.server import Server
from hilum.serving.shared_cache import shared_cache
from hilum.serving.telemetry import Telemetry
from hilum.v1.fusion_service_pb2_grpc import add_FusionServiceServicer_to_server
from services.fusion.pose import PoseEstimation
from services.fusion.posing import Posing
from services.fusion.registering import Registering
from services.fusion.registering_volumes import RegisteringVolumes
from services.fusion.registration import Registration
from services.fusion.servicer import FusionServicer
from services.fusion.settings import FusionSettings
from services.fusion.targets import TargetSegmenter
from services.fusion.transforms import KIND, TransformStore
from services.fusion.volume_registration import VolumeRegistration

SERVICE = "hilum.v1.FusionService"


def fusion_server(settings: FusionSettings, telemetry: Telemetry) -> Server:
    """Returns the server, not started."""
    waiting = settings.running_permits + settings.waiting_permits
    pool = ComputePool(settings.compute_threads, waiting, telemetry=telemetry)
    shared = shared_cache(settings, KIND, telemetry)
    encoder, decoder = open_channel(settings.encoder), open_channel(settings.decoder)
    segmenter = TargetSegmenter(encoder, decoder, timeout_s=settings.segmentation_timeout_s)
    server = Server(settings, telemetry, dependencies=shared.dependencies)
    server.add(
        SERVICE,
        add_FusionServiceServicer_to_server,
        FusionServicer(
            Registering(Registration(threads=settings.intra_op_threads), segmenter, pool),
            RegisteringVolumes(VolumeRegistration(threads=settings.intra_op_threads), pool),
            Posing(PoseEstimation(threads=settings.intra_op_threads), pool),
            TransformStore(settings.local_cache_bytes, shared.cache, telemetry),
            permits=Permits(settings.running_permits, settings.waiting_permits, name="fusion", telemetry=telemetry),
            pool=pool,
            max_image_pixels=settings.max_image_pixels,
            max_volume_bytes=settings.max_volume_bytes,
            max_message_bytes=settings.max_message_bytes,
        ),
    )
    server.resources.push_async_callback(pool.close)
    server.resources.push_async_callback(encoder.close)
    server.resources.push_async_callback(decoder.close)
    server.resources.push_async_callback(shared.close)
    return server


async def run(settings: FusionSettings) -> int:
    """Serves until told to stop; returns the exit code."""
    telemetry = Telemetry("fusion", log_level=settings.log_level)
    return await fusion_server(settings, telemetry).run_until_signal()


if __name__ == "__main__":
    sys.exit(asyncio.run(run(FusionSettings.load())))
