"""The Triton backend without a Triton; tests/integration/test_triton.py has one."""

import io

import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2

from hilum.errors import BackendUnavailable
from hilum.serving.bundle import Bundle
from hilum.serving.telemetry import Telemetry
from modeling.model_repository import ON_GPU, identity, model_config
from services.encoder.preprocess import ModelInput
from services.encoder.triton import TritonImageEncoder, TritonModel
from tests.integration.processes import free_port


def test_the_client_reads_what_the_generator_writes(lite_medsam_bundle: Bundle) -> None:
    """Encoder revision, precision and identity are taken from the configuration of a generated model."""
    revision = lite_medsam_bundle.manifest.encoder_revision
    model = TritonModel.from_config(model_config(lite_medsam_bundle, ON_GPU))
    assert model == TritonModel(revision, "float32", bytes.fromhex(identity(revision, "float32")))


@pytest.mark.parametrize("parameter", ["encoder_revision", "compute_precision", "identity"])
def test_a_foreign_model_is_refused(lite_medsam_bundle: Bundle, parameter: str) -> None:
    """A model that does not say what it computes is none of Hilum's, and the error says how to make one."""
    config = model_config_pb2.ModelConfig()
    config.CopyFrom(model_config(lite_medsam_bundle, ON_GPU))
    del config.parameters[parameter]
    with pytest.raises(BackendUnavailable, match="python -m modeling triton"):
        TritonModel.from_config(config)


async def test_without_a_server_calls_fail_clearly(lite_medsam_bundle: Bundle) -> None:
    """With nothing listening, encodes fail with a time to come back, no precision is claimed, and nothing is ready."""
    manifest = lite_medsam_bundle.manifest
    telemetry = Telemetry("encoder", stream=io.StringIO())
    encoder = TritonImageEncoder(f"127.0.0.1:{free_port()}", manifest, telemetry=telemetry)
    side = manifest.image_size
    canvas = np.zeros((side, side, 3), np.uint8)
    with pytest.raises(BackendUnavailable, match="does not answer") as caught:
        await encoder.encode(ModelInput(canvas, (side, side), np.zeros(3, np.float32), np.ones(3, np.float32)))
    assert caught.value.retry_after_s
    with pytest.raises(BackendUnavailable, match="has not answered yet"):
        _ = encoder.compute_precision
    assert not await encoder.ready()
    await encoder.close()
