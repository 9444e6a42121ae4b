"""The encoder's Triton backend against a real tritonserver."""

import asyncio
import contextlib
import dataclasses
import io
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hilum import AsyncClient, Endpoints, Image
from hilum.errors import BackendUnavailable, Overloaded
from hilum.serving.bundle import Bundle, Manifest
from hilum.serving.overload import ComputePool
from hilum.serving.telemetry import Telemetry
from modeling.model_repository import Execution, default_destination, generate_model_repository
from modeling.models import load_model
from services.development_ca import create
from services.encoder.__main__ import image_encoder
from services.encoder.onnx import OnnxImageEncoder
from services.encoder.preprocess import ModelInput
from services.encoder.settings import EncoderSettings
from services.encoder.triton import TritonImageEncoder
from tests.integration.processes import service
from tests.integration.tritonserver import START_TIMEOUT_S, TritonServer, small_bundle

pytestmark = pytest.mark.triton

# Embeddings of one precision class differ by no more than this, where values reach about 1: two steps of float16.
FLOAT32_TOLERANCE = 1e-3
# bfloat16 has 8 bits of mantissa, and its embeddings are a class of their own: root mean square, relative.
BFLOAT16_TOLERANCE = 0.1
# Long enough for concurrent requests to meet in the queue, whatever else the machine does.
QUEUE_DELAY_US = 500_000


@pytest.fixture(scope="module")
def small(lite_medsam_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(lite_medsam_bundle, tmp_path_factory.mktemp("bundles") / "small")


@pytest.fixture(scope="module")
def narrow(small: Bundle) -> Bundle:
    """The small model under another name: it is served with a short queue."""
    return Bundle(small.folder, dataclasses.replace(small.manifest, name="narrow"))


@pytest.fixture(scope="module")
def server(
    lite_medsam_bundle: Bundle, small: Bundle, narrow: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("triton")
    one_thread = Execution(intra_op_threads=1, max_queue_delay_us=0)
    patient = Execution(intra_op_threads=1, max_queue_delay_us=QUEUE_DELAY_US)
    with TritonServer(folder / "server.log") as running:
        running.start(
            generate_model_repository(lite_medsam_bundle, folder, one_thread),
            generate_model_repository(small, folder, patient),
            generate_model_repository(narrow, folder, dataclasses.replace(patient, max_queue_size=2)),
        )
        yield running


@contextlib.asynccontextmanager
async def encoder_of(
    server: TritonServer, manifest: Manifest, *, timeout_s: float = 120.0, ready_for_s: float = 10.0
) -> AsyncIterator[TritonImageEncoder]:
    encoder = TritonImageEncoder(
        server.address,
        manifest,
        telemetry=Telemetry("encoder", stream=io.StringIO()),
        timeout_s=timeout_s,
        ready_for_s=ready_for_s,
    )
    try:
        yield encoder
    finally:
        await encoder.close()


def images(manifest: Manifest, number: int) -> list[ModelInput]:
    """Different images of different sizes and normalisations, as a model's input."""
    random = np.random.default_rng(number)
    side = manifest.image_size
    inputs = []
    for index in range(number):
        height = side // 2 + index
        canvas = np.zeros((side, side, 3), np.uint8)
        canvas[:height] = random.integers(0, 256, (height, side, 3), dtype=np.uint8)
        scale = 1 / random.uniform(50, 70, 3) if manifest.normalisation.kind == "mean_std" else np.full(3, 1 / 255)
        offset = np.array(manifest.normalisation.mean or (0, 0, 0))
        inputs.append(ModelInput(canvas, (height, side), offset.astype(np.float32), scale.astype(np.float32)))
    return inputs


async def in_process(bundle: Bundle, inputs: list[ModelInput]) -> list[NDArray[np.float16]]:
    """The embeddings of the in-process backend."""
    pool = ComputePool(1, len(inputs))
    encoder = OnnxImageEncoder(bundle.graph("image_encoder"), pool, threads=1)
    embeddings = [await encoder.encode(image) for image in inputs]
    await pool.close()
    return embeddings


def largest_difference(found: list[NDArray[np.float16]], expected: list[NDArray[np.float16]]) -> float:
    return float(np.abs(np.stack(found).astype(np.float32) - np.stack(expected).astype(np.float32)).max())


async def until_ready(encoder: TritonImageEncoder) -> None:
    """Returns when the encoder's own question to the server is answered."""
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while not await encoder.ready():
        assert time.monotonic() < give_up_at


async def until(holds: Callable[[], bool]) -> None:
    """Returns when something holds that the server's metrics show."""
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < give_up_at


def cancellations(server: TritonServer) -> float:
    """Requests that Triton has dropped because their callers left."""
    return server.metric("nv_inference_request_failure", model="narrow", reason="CANCELED")


async def test_embeddings_agree_with_the_in_process_backend(server: TritonServer, lite_medsam_bundle: Bundle) -> None:
    """LiteMedSAM's embeddings from Triton are those of ONNX Runtime in process, and of the same precision class."""
    inputs = images(lite_medsam_bundle.manifest, 2)
    async with encoder_of(server, lite_medsam_bundle.manifest) as encoder:
        found = [await encoder.encode(image) for image in inputs]
        assert (encoder.name, encoder.compute_precision) == ("triton", OnnxImageEncoder.compute_precision)
    difference = largest_difference(found, await in_process(lite_medsam_bundle, inputs))
    print(f"lite-medsam: largest difference from in-process embeddings {difference:.1e}")
    assert found[0].shape == lite_medsam_bundle.manifest.embedding_shape
    assert found[0].dtype == np.float16
    assert difference <= FLOAT32_TOLERANCE


def until_counted(server: TritonServer) -> None:
    """Returns when Triton's metrics have caught up with its statistics, so that no earlier image is counted late."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while server.metric("nv_inference_count", model="small") != images_in(server.formed_batches("small")):
        assert time.monotonic() < deadline, "Triton's metrics never agreed with its statistics"


def images_in(batches: Mapping[int, int]) -> int:
    """Images of batches, counted by size."""
    return sum(size * number for size, number in batches.items())


async def test_concurrent_encodes_share_runs(server: TritonServer, small: Bundle) -> None:
    """Of 16 concurrent encodes several share one network run, and every caller gets the embedding of its own image."""
    inputs = images(small.manifest, 16)
    counters = (
        "nv_inference_count",
        "nv_inference_exec_count",
        "hilum_model_images_total",
        "hilum_model_runs_total",
    )
    async with encoder_of(server, small.manifest) as encoder:
        await until_ready(encoder)
        until_counted(server)
        counts_before = [server.metric(name, model="small") for name in counters]
        formed_before = server.formed_batches("small")
        found = await asyncio.gather(*(encoder.encode(image) for image in inputs))
    expected = await in_process(small, inputs)
    until_counted(server)
    counts = [server.metric(name, model="small") for name in counters]
    formed = {
        size: number - formed_before.get(size, 0)
        for size, number in server.formed_batches("small").items()
        if number > formed_before.get(size, 0)
    }
    triton_images, triton_runs, model_images, model_runs = (
        int(after - before) for after, before in zip(counts, counts_before, strict=True)
    )
    print(f"16 concurrent encodes: batches formed by size {formed}, network runs {model_runs}")
    assert largest_difference(found, expected) <= FLOAT32_TOLERANCE * float(np.abs(expected).max())
    assert images_in(formed) == triton_images == model_images == 16
    assert sum(formed.values()) == triton_runs == model_runs
    assert max(formed) > 1


async def test_a_full_queue_is_overload(server: TritonServer, narrow: Bundle) -> None:
    """Requests beyond the queue's length are refused with a time to come back, and the others are answered."""
    (image,) = images(narrow.manifest, 1)
    async with encoder_of(server, narrow.manifest) as encoder:
        await until_ready(encoder)
        answers = await asyncio.gather(*(encoder.encode(image) for _ in range(8)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        assert 0 < len(refused) < 8
        assert all(isinstance(error, Overloaded) and error.retry_after_s for error in refused)
        assert await encoder.ready()


async def test_a_slow_answer_is_given_up(server: TritonServer, narrow: Bundle) -> None:
    """An encode that outlasts its limit ends with an error that says so, and is taken out of Triton's queue."""
    (image,) = images(narrow.manifest, 1)
    async with encoder_of(server, narrow.manifest) as patient:
        await until_ready(patient)
    cancelled, runs = cancellations(server), server.metric("hilum_model_runs_total", model="narrow")
    async with encoder_of(server, narrow.manifest, timeout_s=QUEUE_DELAY_US * 1e-6 / 5) as encoder:
        with pytest.raises(BackendUnavailable, match="did not answer in time") as caught:
            await encoder.encode(image)
    assert caught.value.retry_after_s
    await until(lambda: cancellations(server) == cancelled + 1)
    assert server.metric("hilum_model_runs_total", model="narrow") == runs


async def test_a_cancelled_encode_never_runs(server: TritonServer, narrow: Bundle) -> None:
    """A request whose caller has left while it waits in Triton's queue reaches no network."""
    (image,) = images(narrow.manifest, 1)
    async with encoder_of(server, narrow.manifest) as encoder:
        await until_ready(encoder)
        cancelled, runs = cancellations(server), server.metric("hilum_model_runs_total", model="narrow")
        pending = asyncio.create_task(encoder.encode(image))
        await until(lambda: server.metric("nv_inference_pending_request_count", model="narrow") == 1)
        pending.cancel()
        await until(lambda: cancellations(server) == cancelled + 1)
        assert pending.cancelled()
        assert server.metric("hilum_model_runs_total", model="narrow") == runs


async def test_a_busy_server_stays_ready(server: TritonServer, narrow: Bundle) -> None:
    """While encodes run and none has failed, the server counts as ready without being asked."""
    (image,) = images(narrow.manifest, 1)
    async with encoder_of(server, narrow.manifest, ready_for_s=0) as encoder:
        await until_ready(encoder)
        running = asyncio.create_task(encoder.encode(image))
        await asyncio.wait({running}, timeout=0)
        assert await encoder.ready()
        assert not running.done()
        await running


async def test_another_model_is_refused(server: TritonServer, small: Bundle) -> None:
    """A server without the model, or with other weights of it, is not used, and the error says what to start."""
    absent = dataclasses.replace(small.manifest, name="absent")
    other = dataclasses.replace(small.manifest, encoder_revision="0" * 64)
    (image,) = images(small.manifest, 1)
    for manifest, message in ((absent, "no such model"), (other, "runs encoder revision")):
        async with encoder_of(server, manifest) as encoder:
            with pytest.raises(BackendUnavailable, match=message):
                await encoder.encode(image)
            with pytest.raises(BackendUnavailable, match="has not answered yet"):
                _ = encoder.compute_precision
            assert not await encoder.ready()


async def test_an_encoder_outlives_its_server(small: Bundle, lite_medsam_bundle: Bundle, tmp_path: Path) -> None:
    """One client sees its server come up, be killed, return with other weights under the same name, and be itself."""
    others = small_bundle(lite_medsam_bundle, tmp_path / "small", seed=1)
    repository, other_repository = (generate_model_repository(bundle, tmp_path) for bundle in (small, others))
    (image,) = images(small.manifest, 1)
    with TritonServer(tmp_path / "server.log") as server:
        async with encoder_of(server, small.manifest, ready_for_s=0) as encoder:
            assert not await encoder.ready()
            server.start(repository)
            await until_ready(encoder)
            before = await encoder.encode(image)
            server.kill()
            with pytest.raises(BackendUnavailable, match="does not answer") as caught:
                await encoder.encode(image)
            assert caught.value.retry_after_s
            assert not await encoder.ready()
            server.start(other_repository)
            async with encoder_of(server, others.manifest) as witness:
                await until_ready(witness)
            with pytest.raises(BackendUnavailable, match=r"other weights|does not answer"):
                await encoder.encode(image)
            assert not await encoder.ready()
            server.kill()
            server.start(repository)
            await until_ready(encoder)
            np.testing.assert_array_equal(await encoder.encode(image), before)


async def test_a_dead_model_process_is_noticed(small: Bundle, tmp_path: Path) -> None:
    """When the process that runs the model dies and the server lives on, encodes fail clearly and nothing is ready."""
    (image,) = images(small.manifest, 1)
    with TritonServer(tmp_path / "server.log") as server:
        server.start(generate_model_repository(small, tmp_path))
        async with (
            encoder_of(server, small.manifest) as encoder,
            encoder_of(server, small.manifest, ready_for_s=0) as idle,
        ):
            await until_ready(encoder)
            await until_ready(idle)
            server.kill_model_processes()
            assert not await idle.ready()
            with pytest.raises(BackendUnavailable, match="cannot run its model"):
                await encoder.encode(image)
            assert not await encoder.ready()
        server.kill()  # asked to stop, it would wait for the dead


async def test_a_triton_that_speaks_mutual_tls(small: Bundle, tmp_path: Path) -> None:
    """With the authority and the service's certificate encodes work; without, Triton is not answering."""
    folder = tmp_path / "secure"
    create(folder)
    (image,) = images(small.manifest, 1)
    secure = {
        "grpc-use-ssl": "1",
        "grpc-use-ssl-mutual": "1",
        "grpc-server-cert": folder / "encoder.pem",
        "grpc-server-key": folder / "encoder-key.pem",
        "grpc-root-cert": folder / "ca.pem",
    }
    files = {"tls_certificate": folder / "encoder.pem", "tls_key": folder / "encoder-key.pem"}
    with TritonServer(tmp_path / "server.log", *(f"--{name}={value}" for name, value in secure.items())) as server:
        server.start(generate_model_repository(small, tmp_path))
        common: dict[str, Any] = {"backend": "triton", "triton_url": server.address, **files}
        pool = ComputePool(1, 1)
        telemetry = Telemetry("encoder", stream=io.StringIO())
        trusting = image_encoder(small, EncoderSettings(**common, triton_ca=folder / "ca.pem"), pool, telemetry)
        assert (await trusting.encode(image)).shape == small.manifest.embedding_shape
        in_the_clear = image_encoder(small, EncoderSettings(**common), pool, telemetry)
        with pytest.raises(BackendUnavailable, match="does not answer"):
            await in_the_clear.encode(image)
        for closing in (trusting, in_the_clear, pool):
            await closing.close()


async def test_the_torch_engine_agrees_with_torch(lite_medsam_bundle: Bundle, tmp_path: Path) -> None:
    """The program that GPUs run gives, in bfloat16 under Triton, the embeddings of torch's modules in its precision."""
    execution = Execution(engine="torch", compute_precision="bfloat16", intra_op_threads=1)
    (image,) = images(lite_medsam_bundle.manifest, 1)
    with TritonServer(tmp_path / "server.log") as server:
        server.start(generate_model_repository(lite_medsam_bundle, default_destination(), execution))
        async with encoder_of(server, lite_medsam_bundle.manifest) as encoder:
            found = (await encoder.encode(image)).astype(np.float32)
            assert encoder.compute_precision == "bfloat16"
    modules: Any = load_model(lite_medsam_bundle)
    with torch.inference_mode():
        expected = modules.image_encoder(torch.from_numpy(image.normalised())).numpy()[0]
    relative = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    print(f"lite-medsam, torch in bfloat16: {relative:.1e} from float32 (root mean square, relative)")
    assert 1e-3 < relative < BFLOAT16_TOLERANCE


async def test_a_service_serves_once_its_triton_is_up(default_bundle: Bundle, tmp_path: Path) -> None:
    """An encoder service started before its Triton refuses clearly, works when that is up, and gives in-process ids."""
    pixels = Image(np.random.default_rng(0).integers(-500, 500, (200, 240), dtype=np.int16))
    with TritonServer(tmp_path / "server.log") as triton:
        settings = {"backend": "triton", "triton_url": triton.address, "health_interval_s": "0.5"}
        with service("encoder", **settings) as through_triton, service("encoder") as alone:
            async with AsyncClient(Endpoints(encoder=through_triton.address)) as client:
                with pytest.raises(BackendUnavailable, match="has not answered yet"):
                    await client.encode(pixels)
                triton.start(generate_model_repository(default_bundle, tmp_path, Execution(intra_op_threads=1)))
                while not through_triton.wait_for("dependency")["up"]:
                    pass
                encoded = await client.encode(pixels)
                (model,) = await client.models()
            async with AsyncClient(Endpoints(encoder=alone.address)) as client:
                assert (await client.encode(pixels)).embedding_id == encoded.embedding_id
        assert triton.metric("hilum_model_images_total", model="lite-medsam-click") == 1
        assert (model.backend, model.compute_precision) == ("triton", "float32")
