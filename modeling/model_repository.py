"""A Triton model repository out of a bundle: a folder that a tritonserver serves the image encoder from.

    <destination>/<bundle>-<digest>/        what --model-repository takes
        <bundle>/config.pbtxt               inputs, outputs, batching; parameters: what the encoder's clients read
        <bundle>/1/model.py                 `modeling.triton_model`
        <bundle>/1/image_encoder.onnx       the graph (engine onnxruntime) or
        <bundle>/1/image_encoder.pt2        the program (engine torch)

Nothing in it refers to anything outside it.
"""

import hashlib
import importlib.metadata
import shutil
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import platformdirs
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hilum.errors import BundleError
from hilum.serving.bundle import Bundle

Kind = Literal["KIND_CPU", "KIND_GPU"]
Engine = Literal["onnxruntime", "torch"]
ComputePrecision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Execution:
    """How Triton runs a model.

    Attributes:
        kind: where an instance runs; KIND_GPU puts `instances` on every GPU of the server.
        engine: `onnxruntime` runs the bundle's graph, on the CPU only; `torch` runs an exported program.
        compute_precision: part of every embedding's key. `bfloat16` needs the engine torch; it is faster on a GPU, and
            its embeddings differ by several percent.
        instances: processes that run the model at the same time.
        max_batch_size: most images of one batch.
        max_queue_delay_us: how long a request may wait for others to form a batch with, in microseconds. A lone
            request waits all of it.
        max_queue_size: requests that wait before others are refused.
        intra_op_threads: CPU threads of one instance; 0 lets the engine choose.
    """

    kind: Kind = "KIND_CPU"
    engine: Engine = "onnxruntime"
    compute_precision: ComputePrecision = "float32"
    instances: int = 1
    max_batch_size: int = 8
    max_queue_delay_us: int = 2000
    max_queue_size: int = 64
    intra_op_threads: int = 0

    def __post_init__(self) -> None:
        """Refuse what no server could run.

        Raises:
            BundleError: a number is out of its range, or the engine cannot do what is asked.
        """
        for name, least in (("instances", 1), ("max_batch_size", 1), ("max_queue_size", 1)):
            if getattr(self, name) < least:
                raise BundleError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if min(self.max_queue_delay_us, self.intra_op_threads) < 0:
            raise BundleError("max_queue_delay_us and intra_op_threads must not be negative")
        if self.engine == "onnxruntime" and (self.kind, self.compute_precision) != ("KIND_CPU", "float32"):
            raise BundleError("ONNX Runtime runs on the CPU in float32; anything else needs torch (--gpu)")


ON_CPU = Execution()
ON_GPU = Execution(kind="KIND_GPU", engine="torch")


def default_destination() -> Path:
    """The folder in the user's cache that repositories go to."""
    return platformdirs.user_cache_path("hilum") / "model-repositories"


def identity(encoder_revision: str, compute_precision: str) -> str:
    """What the model computes, as SHA-256 (hex): the part of an embedding's key that the server decides.

    The model sends it with every embedding, so that a client notices when a server changes under it.
    """
    return hashlib.sha256(f"{encoder_revision}\n{compute_precision}".encode()).hexdigest()


def generate_model_repository(bundle: Bundle, destination: Path, execution: Execution = ON_CPU) -> Path:
    """Write the repository, or find it written; its name says what is in it.

    Args:
        bundle: an installed bundle with verified digests.
        destination: folder that repositories lie in.
        execution: how Triton is to run the model.

    Returns:
        The repository's folder, for --model-repository.

    Raises:
        BundleError: the bundle lacks the graph, or the exported program differs from its module. Nothing is left of
            the attempt.
    """
    model_py = (resources.files("modeling") / "triton_model.py").read_bytes()
    config = text_format.MessageToString(model_config(bundle, execution))
    origin = bundle.manifest.files[bundle.graph("image_encoder").name] if execution.engine == "onnxruntime" else ""
    digest = hashlib.sha256(b"\0".join((config.encode(), model_py, origin.encode()))).hexdigest()
    repository = destination / f"{bundle.manifest.name}-{digest[:16]}"
    if repository.is_dir():
        return repository
    destination.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{repository.name}-", dir=destination))
    try:
        scratch.chmod(0o755)  # the server may run as somebody else
        version = scratch / bundle.manifest.name / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(config, encoding="utf-8")
        (version / "model.py").write_bytes(model_py)
        if execution.engine == "onnxruntime":
            _copy_graph(bundle, version)
        else:
            _write_program(bundle, version, execution)
        scratch.replace(repository)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return repository


def model_config(bundle: Bundle, execution: Execution) -> pb.ModelConfig:
    """The model's configuration; see `modeling.triton_model` for the tensors."""
    manifest = bundle.manifest
    side = manifest.image_size
    queue = pb.ModelQueuePolicy(max_queue_size=execution.max_queue_size, allow_timeout_override=True)
    config = pb.ModelConfig(
        name=manifest.name,
        backend="python",
        max_batch_size=execution.max_batch_size,
        # INPUT_SIZE alone is enough to ask for IDENTITY.
        input=[
            pb.ModelInput(name="CANVAS", data_type=pb.TYPE_UINT8, dims=[side, side, 3], optional=True),
            pb.ModelInput(name="OFFSET", data_type=pb.TYPE_FP32, dims=[3], optional=True),
            pb.ModelInput(name="SCALE", data_type=pb.TYPE_FP32, dims=[3], optional=True),
            pb.ModelInput(name="INPUT_SIZE", data_type=pb.TYPE_INT32, dims=[2]),
        ],
        output=[
            pb.ModelOutput(name="EMBEDDING", data_type=pb.TYPE_FP16, dims=manifest.embedding_shape),
            pb.ModelOutput(name="IDENTITY", data_type=pb.TYPE_UINT8, dims=[32]),
        ],
        instance_group=[
            pb.ModelInstanceGroup(count=execution.instances, kind=pb.ModelInstanceGroup.Kind.Value(execution.kind))
        ],
        dynamic_batching=pb.ModelDynamicBatching(
            max_queue_delay_microseconds=execution.max_queue_delay_us, default_queue_policy=queue
        ),
    )
    for name, value in _parameters(bundle, execution).items():
        config.parameters[name].string_value = value
    return config


def _parameters(bundle: Bundle, execution: Execution) -> dict[str, str]:
    revision = bundle.manifest.encoder_revision
    parameters = {
        "encoder_revision": revision,
        "compute_precision": execution.compute_precision,
        "identity": identity(revision, execution.compute_precision),
        "engine": execution.engine,
        "intra_op_threads": str(execution.intra_op_threads),
    }
    if execution.engine == "torch":
        # Says which torch the server needs.
        parameters["torch_version"] = importlib.metadata.version("torch")
    return parameters


def _copy_graph(bundle: Bundle, folder: Path) -> None:
    graph = bundle.graph("image_encoder").name
    for name in (graph, f"{graph}.data"):  # large weights lie beside the graph
        if name in bundle.manifest.files:
            shutil.copyfile(bundle.folder / name, folder / name)


def _write_program(bundle: Bundle, folder: Path, execution: Execution) -> None:
    # torch takes seconds to import, and a repository of the graph needs none.
    from modeling.models import load_model  # noqa: PLC0415
    from modeling.torch_program import write_torch_program  # noqa: PLC0415

    path = folder / "image_encoder.pt2"
    write_torch_program(load_model(bundle), bundle.manifest.image_size, path, max_batch_size=execution.max_batch_size)
