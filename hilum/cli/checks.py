"""What `hilum doctor` looks at: health, models, and a picture sent through the services."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hilum.cli.session import Session
from hilum.client import AsyncClient
from hilum.connection import Endpoints
from hilum.errors import (
    DeadlineExceeded,
    HilumError,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    from_rpc_error,
)
from hilum.served_model import Model
from hilum.transform import Transform
from hilum.types import BoolMask, Box, Image, Point, Prompt

Answer = TypeVar("Answer")

_REDIS = "hilum.dependency.redis"
_ROUND_TRIPS = 5
_SIDE_PX, _RADIUS_PX = 192, 40
_MIN_IOU = 0.5


class State(Enum):
    """How a check ended; WARNING where only a part of the system can be judged."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        subject: What was looked at.
        state: How it ended.
        detail: What was seen.
        next_step: What to do about it; empty where nothing needs doing.
    """

    subject: str
    state: State
    detail: str
    next_step: str = ""


@dataclass(frozen=True)
class Service:
    """A service and where it should be.

    Attributes:
        name: "encoder", "decoder" or "fusion": its option and its module.
        full_name: Of the contract.
        address: host:port.
    """

    name: str
    full_name: str
    address: str


def services_at(endpoints: Endpoints, *, fusion: bool) -> list[Service]:
    """Returns the services to look at."""
    found = [
        Service("encoder", "hilum.v1.EncoderService", endpoints.encoder),
        Service("decoder", "hilum.v1.DecoderService", endpoints.decoder),
    ]
    return [*found, Service("fusion", "hilum.v1.FusionService", endpoints.fusion)] if fusion else found


async def check_health(service: Service, session: Session) -> AsyncIterator[Finding]:
    """Yields the service's health, and that of its Redis where it has one."""
    async with session.channel(service.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def status(name: str) -> str:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=session.timeout_s)
            return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

        try:
            health = await status(service.full_name)
            times = [(await _timed(status(service.full_name)))[1] for _ in range(_ROUND_TRIPS)]
        except grpc.aio.AioRpcError as error:
            yield _unhealthy(service, error, session)
            return
        trip = f"{service.address}, round trip {min(times):.1f} ms"
        if health == "SERVING":
            yield Finding(service.name, State.OK, f"serving at {trip}")
        else:
            step = "It is starting or stopping, or what it needs is down: its log says which dependency."
            yield Finding(service.name, State.FAILED, f"{health} at {trip}", step)
        try:
            redis = await status(_REDIS)
        except grpc.aio.AioRpcError:
            yield Finding(f"{service.name}'s redis", State.OK, "none configured: nothing is shared between replicas")
            return
        if redis == "SERVING":
            yield Finding(f"{service.name}'s redis", State.OK, "answers")
        else:
            step = "Start it, or correct HILUM_REDIS_URL. Requests succeed without it, but are encoded again."
            yield Finding(f"{service.name}'s redis", State.FAILED, "does not answer", step)


async def check_models(client: AsyncClient) -> tuple[list[Model], Finding]:
    """Returns the models that the encoder serves, and whether there is any."""
    try:
        models, elapsed_ms = await _timed(client.models())
    except HilumError as error:
        return [], Finding("models", State.FAILED, str(error), _next_step(error))
    if not models:
        step = "Install one on the server, `python -m modeling install lite-medsam-click`, and name it in HILUM_MODELS."
        return [], Finding("models", State.FAILED, "the encoder serves none", step)
    return models, Finding("models", State.OK, f"{len(models)} served, listed in {elapsed_ms:.1f} ms")


async def check_segmentation(client: AsyncClient, model: Model) -> Finding:
    """Sends a synthetic picture, never seen before and of nobody, and a prompt; the mask must be its disc."""
    picture, disc = synthetic_picture(np.random.default_rng())
    centre, reach = (_SIDE_PX - 1) / 2, _RADIUS_PX + 3
    box = Box(centre - reach, centre - reach, centre + reach, centre + reach)
    prompt = Prompt(box=box) if "box" in model.prompts else Prompt(points=(Point(centre, centre),))
    subject = f"self-test of {model.name}"
    try:
        encoded, encode_ms = await _timed(client.encode(picture, model=model.name))
        prediction, predict_ms = await _timed(client.predict(picture, [prompt], model=model.name, region=None))
    except HilumError as error:
        return Finding(subject, State.FAILED, str(error), _next_step(error))
    found = prediction.masks[0][0].mask
    iou = float((found & disc).sum() / (found | disc).sum())
    detail = (
        f"encoded in {encode_ms:.1f} ms, prompt answered in {predict_ms:.1f} ms "
        f"(embedding from {', '.join(prediction.embedding_origins)}), IoU {iou:.2f} with a synthetic disc"
    )
    if encoded.cache_hit:
        return Finding(subject, State.FAILED, f"{detail}; a new picture was a cache hit", "Report this: it is a fault.")
    if iou < _MIN_IOU:
        step = "The services answer, but the model does not segment: install its bundle again, from its own weights."
        return Finding(subject, State.FAILED, detail, step)
    return Finding(subject, State.OK, detail)


async def check_fusion(client: AsyncClient) -> Finding:
    """Fuses a synthetic picture with itself: the result must be the picture."""
    picture, _ = synthetic_picture(np.random.default_rng())
    itself = Transform.from_matrix(np.eye(3), picture.size, picture.size)
    try:
        fusion, elapsed_ms = await _timed(client.fuse(picture, picture, itself))
    except HilumError as error:
        return Finding("self-test of fusion", State.FAILED, str(error), _next_step(error))
    difference = np.abs(fusion.fused.astype(int) - picture.pixels).max()
    detail = f"a picture fused with itself in {elapsed_ms:.1f} ms, {difference} of 255 levels off at most"
    return Finding("self-test of fusion", State.OK if difference <= 1 else State.FAILED, detail)


async def check_registration(client: AsyncClient) -> Finding:
    """Asks which registrations the fusion service was verified on."""
    subject = "registration"
    try:
        found = await client.fusion_capabilities()
    except HilumError as error:
        return Finding(subject, State.FAILED, str(error), _next_step(error))
    models = ", ".join(model.name.lower() for model in found.transform_models)
    pairs = ", ".join(map(str, found.verified_pairs)) or "no pair of modalities"
    detail = (
        f"{found.registration_algorithm} of {found.version}: {models}; verified on {pairs}, other pairs are flagged"
    )
    return Finding(subject, State.OK, detail)


def synthetic_picture(rng: np.random.Generator) -> tuple[Image, BoolMask]:
    """Returns a bright disc on noise, uint8 (192, 192), and the disc's mask: no two are alike, none is of a patient."""
    rows, columns = np.mgrid[:_SIDE_PX, :_SIDE_PX] - (_SIDE_PX - 1) / 2
    disc = rows**2 + columns**2 <= _RADIUS_PX**2
    levels = np.where(disc, 190.0, 60.0) + rng.normal(0, 8, disc.shape)
    return Image(np.clip(levels, 0, 255).astype(np.uint8)), disc


async def _timed(work: Awaitable[Answer]) -> tuple[Answer, float]:
    """Returns the answer and the time it took in ms."""
    started = time.perf_counter()
    answer = await work
    return answer, (time.perf_counter() - started) * 1000


def _next_step(error: HilumError) -> str:
    if isinstance(error, Unauthenticated):
        return "Say who you are: a token in --token-file, or a client certificate in --certificate and --key."
    if isinstance(error, PermissionDenied):
        return "Ask the operator for the role, or for a change of the policy; the service itself works."
    if isinstance(error, DeadlineExceeded):
        return "It is too busy or too far away: allow more time with --timeout SECONDS, or look at its load."
    if isinstance(error, Unavailable):
        return "Try again in a moment; if it stays, the service's log has the details."
    return "Is it the right service at this address, and of this version? Its log has the details."


def _unhealthy(service: Service, error: grpc.aio.AioRpcError, session: Session) -> Finding:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return Finding(service.name, State.WARNING, f"{service.address} answers, but tells nothing of its health")
    if error.code() is grpc.StatusCode.NOT_FOUND:
        detail = f"{service.address} answers, but says that it is no {service.full_name}"
        step = f"Is --{service.name} the right address? Behind a proxy this may be normal: the self-tests decide."
        return Finding(service.name, State.WARNING, detail, step)
    step = (
        f"Start it (`python -m services` runs everything on this machine), or give its address with --{service.name} "
        f"or HILUM_{service.name.upper()}."
    )
    if session.tls is None:
        step += " Does it speak TLS? Then give --ca."
    else:
        step += " A refused handshake looks the same: is --ca its authority, and does it take your --certificate?"
    if service.name == "fusion":
        step += " Not needed? Give --without-fusion."
    return Finding(service.name, State.FAILED, f"{service.address}: {from_rpc_error(error).message}", step)
