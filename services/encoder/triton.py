"""The image encoder in a Triton server: what `python -m modeling triton` wrote, over tritonclient's asyncio client.

Triton's own health calls stay true while the process that runs the model is dead, so readiness is judged by answers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from hilum.errors import BackendUnavailable, Overloaded, Unavailable
from hilum.serving.bundle import Manifest
from hilum.serving.telemetry import Telemetry
from services.encoder.preprocess import ModelInput

_RETRY_S = 1.0
# Triton's words for a request that it dropped unseen; the status is UNAVAILABLE, as when the server is away.
_QUEUE_REFUSALS = ("exceeds maximum queue size", "request timeout expired")
_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # gRPC waits up to two minutes between attempts; a server that came back should be found sooner.
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # Behind a name with several addresses, all servers share the work.
    ("grpc.lb_policy_name", "round_robin"),
)


@dataclass(frozen=True)
class TritonModel:
    """What a Triton model says of itself in its configuration.

    Attributes:
        encoder_revision: Of the weights it runs, hex.
        compute_precision: Precision class of its embeddings.
        identity: Sent with every embedding; stands for both of the above.
    """

    encoder_revision: str
    compute_precision: str
    identity: bytes

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """Reads a tritonclient ModelConfig.

        Raises:
            BackendUnavailable: The model is not one that `python -m modeling triton` wrote.
        """
        parameters = {name: parameter.string_value for name, parameter in config.parameters.items()}
        try:
            identity = bytes.fromhex(parameters["identity"])
            return cls(parameters["encoder_revision"], parameters["compute_precision"], identity)
        except (LookupError, ValueError):
            raise _unavailable(
                f"runs a model {config.name!r} that is no image encoder of Hilum; write one with "
                "`python -m modeling triton`"
            ) from None


class TritonImageEncoder:
    """Encodes through a Triton server, which forms batches out of concurrent calls.

    The object outlives the server: calls fail while the server is away, still starting, or runs another model than the
    bundle's, and succeed when that is over. It belongs to one event loop.

    Args:
        address: gRPC target of the server, such as "triton:8001" or "dns:///triton:8001".
        manifest: The bundle's; the server's model has its name and its encoder revision.
        telemetry: Where inferences are timed and traced.
        credentials: For TLS; None for a plain connection.
        timeout_s: Limit of one call, the wait in Triton's queue included, in seconds.
        ready_for_s: For how long one answer shows that the server is ready, in seconds.
    """

    name = "triton"

    def __init__(
        self,
        address: str,
        manifest: Manifest,
        *,
        telemetry: Telemetry,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_s: float = 30.0,
        ready_for_s: float = 10.0,
    ) -> None:
        self._client = InferenceServerClient(address, creds=credentials, channel_args=list(_CHANNEL_OPTIONS))
        self._manifest = manifest
        self._timeout_s = timeout_s
        self._ready_for_s = ready_for_s
        self._telemetry = telemetry
        # Learnt at the first contact, then fixed: embeddings are keyed by it.
        self._model: TritonModel | None = None
        self._running = 0
        # Of the last answer, on time.monotonic's clock; None after a failure, and before the first answer.
        self._answered_at: float | None = None

    @property
    def compute_precision(self) -> str:
        """As the server's model states it.

        Raises:
            BackendUnavailable: The server has not answered yet.
        """
        if self._model is None:
            raise _unavailable("has not answered yet; try again, and see whether it runs")
        return self._model.compute_precision

    async def encode(self, image: ModelInput) -> NDArray[np.float16]:
        """Returns the image embedding (channels, height, width), read-only.

        Raises:
            Overloaded: The server's queue is full.
            BackendUnavailable: The server does not answer in time, cannot run its model, or runs another model.
        """
        inputs = [
            _input("CANVAS", image.canvas),
            _input("OFFSET", image.offset),
            _input("SCALE", image.scale),
            _input("INPUT_SIZE", np.array(image.input_size, np.int32)),
        ]
        self._running += 1
        try:
            result = await self._infer(inputs, ("EMBEDDING", "IDENTITY"))
        finally:
            self._running -= 1
        embedding: NDArray[np.float16] = result.as_numpy("EMBEDDING")[0]
        return embedding

    async def ready(self) -> bool:
        """Says whether an image could be encoded now.

        Known from the last answer while that is fresh, or while encodes run and none has failed since: a busy server is
        not a dead one. Otherwise the model is asked, without an image.
        """
        if self._answered_at is not None:
            fresh = time.monotonic() - self._answered_at < self._ready_for_s
            if fresh or self._running:
                return True
        try:
            await self._infer([_input("INPUT_SIZE", np.zeros(2, np.int32))], ("IDENTITY",))
        except Unavailable:
            return False
        return True

    async def close(self) -> None:
        """Ends the connection."""
        await self._client.close()

    async def _infer(self, inputs: Sequence[InferInput], outputs: Sequence[str]) -> InferResult:
        """Asks the model; what it answers comes from the bundle's weights, in the precision first seen."""
        try:
            model = self._model or await self._first_contact()
            with self._telemetry.calling("triton", "infer") as headers:
                result = await self._client.infer(
                    self._manifest.name,
                    list(inputs),
                    outputs=[InferRequestedOutput(name) for name in outputs],
                    client_timeout=self._timeout_s,
                    headers=dict(headers),
                )
            if result.as_numpy("IDENTITY").tobytes() != model.identity:
                raise _unavailable(
                    "has come back with other weights or another precision; start it with the former ones, or restart "
                    "the encoder service"
                )
        except InferenceServerException as error:
            failure = _failure(error)
            if isinstance(failure, BackendUnavailable):
                self._answered_at = None
            raise failure from error
        except BackendUnavailable:
            self._answered_at = None
            raise
        self._answered_at = time.monotonic()
        return result

    async def _first_contact(self) -> TritonModel:
        response = await self._client.get_model_config(self._manifest.name, client_timeout=self._timeout_s)
        model = TritonModel.from_config(response.config)
        if model.encoder_revision != self._manifest.encoder_revision:
            raise _unavailable(
                f"runs encoder revision {model.encoder_revision[:12]} of {self._manifest.name}, the bundle here has "
                f"{self._manifest.encoder_revision[:12]}; start it with what `python -m modeling triton` writes now"
            )
        self._model = model
        return model


def _input(name: str, value: NDArray[Any]) -> InferInput:
    """Returns one image's input, a batch of one."""
    batch = np.ascontiguousarray(value)[None]
    tensor = InferInput(name, list(batch.shape), np_to_triton_dtype(batch.dtype))
    tensor.set_data_from_numpy(batch)
    return tensor


def _failure(error: InferenceServerException) -> Unavailable:
    """Returns what a failed call means to whoever wants an image encoded; Triton's own words stay in the cause."""
    status, message = error.status() or "", (error.message() or "").lower()
    if any(words in message for words in _QUEUE_REFUSALS):
        return Overloaded("the encoder's Triton server has a full queue; try again later", retry_after_s=_RETRY_S)
    if "unknown model" in message or status == "StatusCode.NOT_FOUND":
        return _unavailable("has no such model; start it with what `python -m modeling triton` writes")
    if status == "StatusCode.UNAVAILABLE":
        return _unavailable("does not answer; try again, and see whether it runs")
    if status == "StatusCode.DEADLINE_EXCEEDED":
        return _unavailable("did not answer in time; try again, and see whether it is overloaded")
    return _unavailable("answers but cannot run its model; see its log and restart it")


def _unavailable(fault: str) -> BackendUnavailable:
    return BackendUnavailable(f"the encoder's Triton server {fault}", retry_after_s=_RETRY_S)
