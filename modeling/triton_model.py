"""The image encoder as a model of Triton's python backend: `modeling.model_repository` writes this file as model.py.

It runs inside tritonserver and imports nothing of Hilum, so that a model repository is self-contained.

Inputs and outputs, B images in a request:

    CANVAS      (B, S, S, 3) uint8     the image in the upper left corner, zeros elsewhere
    OFFSET      (B, 3) float32         the network sees (CANVAS - OFFSET) * SCALE per channel inside INPUT_SIZE
    SCALE       (B, 3) float32         and zero outside
    INPUT_SIZE  (B, 2) int32           (height, width) of the image on the canvas
    EMBEDDING   (B, C, h, w) float16   the image embedding
    IDENTITY    (B, 32) uint8          what keys an embedding: see `modeling.model_repository.identity`

A request that asks for IDENTITY alone needs only INPUT_SIZE and runs no network: the cheap question whether this
process and its device are alive, which Triton's own health calls do not answer.

Tensors cross to and from Triton by DLPack: with numpy 2, the backend's numpy conversions (up to Triton 2.51 at least)
return wrong values without an error.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as pb_utils  # there is no such package: tritonserver provides it
from torch import Tensor
from torch.utils.dlpack import from_dlpack

# (B, 3, S, S) float32 to (B, C, h, w), on one device.
Network = Callable[[Tensor], Tensor]


class TritonPythonModel:
    """One instance of the model, in a process of its own. The name is what Triton looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the network and runs it once, so that a network that does not run here fails the server's start."""
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        on_gpu = args["model_instance_kind"] == "GPU"
        self._device = torch.device(f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu")
        threads = int(parameters["intra_op_threads"])
        if threads:
            torch.set_num_threads(threads)
        if parameters["engine"] == "onnxruntime":
            self._network = onnx_network(folder / "image_encoder.onnx", threads)
        else:
            autocast = parameters["compute_precision"] == "bfloat16"
            self._network = torch_network(folder / "image_encoder.pt2", self._device, autocast=autocast)
        # Kept on the device: answering with it shows that the device still works.
        self._identity = torch.tensor([list(bytes.fromhex(parameters["identity"]))], dtype=torch.uint8).to(self._device)
        (side,) = {dim for entry in config["input"] if entry["name"] == "CANVAS" for dim in entry["dims"][:2]}
        self._network(torch.zeros(1, 3, int(side), int(side), device=self._device))
        labels = {"model": args["model_name"], "instance": args["model_instance_name"]}
        self._runs = Counter("hilum_model_runs_total", "Runs of the network, one a batch.", labels)
        self._images = Counter("hilum_model_images_total", "Images the network has seen.", labels)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers the requests of one batch, in order, with one run of the network."""
        encoded = [request for request in requests if "EMBEDDING" in request.requested_output_names()]
        embeddings = iter(self._encode(encoded) if encoded else ())
        return [self._answer(request, embeddings) for request in requests]

    def _encode(self, requests: Sequence[Any]) -> Sequence[Tensor]:
        """Returns the requests' embeddings, on the CPU."""
        canvases = [tensor(request, "CANVAS") for request in requests]
        offset, scale, input_size = (
            torch.cat([tensor(request, name) for request in requests]).to(self._device)
            for name in ("OFFSET", "SCALE", "INPUT_SIZE")
        )
        canvas = torch.cat(canvases).to(self._device)
        with torch.inference_mode():
            # A network may end in a permutation; Triton takes contiguous memory only.
            embeddings = self._network(normalised(canvas, input_size, offset, scale)).half().cpu().contiguous()
        self._runs.add(1)
        self._images.add(len(embeddings))
        return torch.split(embeddings, [len(canvas) for canvas in canvases])

    def _answer(self, request: Any, embeddings: Any) -> Any:
        outputs = []
        wanted = request.requested_output_names()
        if "EMBEDDING" in wanted:
            outputs.append(pb_utils.Tensor.from_dlpack("EMBEDDING", next(embeddings)))
        if "IDENTITY" in wanted:
            images = len(tensor(request, "INPUT_SIZE"))
            outputs.append(pb_utils.Tensor.from_dlpack("IDENTITY", self._identity.cpu().repeat(images, 1)))
        return pb_utils.InferenceResponse(output_tensors=outputs)


class Counter:
    """A counter among the metrics of tritonserver."""

    def __init__(self, name: str, description: str, labels: dict[str, str]) -> None:
        # The family is kept: the metric ends with it.
        self._family = pb_utils.MetricFamily(name=name, description=description, kind=pb_utils.MetricFamily.COUNTER)
        self._metric = self._family.Metric(labels=labels)

    def add(self, number: int) -> None:
        """Adds a number."""
        self._metric.increment(number)


def tensor(request: Any, name: str) -> Tensor:
    """Returns an input; the memory is Triton's and lasts as long as the request."""
    given = pb_utils.get_input_tensor_by_name(request, name)
    if given is None:
        raise pb_utils.TritonModelException(f"EMBEDDING needs the input {name}")
    received: Tensor = from_dlpack(given)
    return received


def normalised(canvas: Tensor, input_size: Tensor, offset: Tensor, scale: Tensor) -> Tensor:
    """Returns the network's input (B, 3, S, S) float32."""
    place = torch.arange(canvas.shape[1], device=canvas.device)
    height, width = input_size[:, 0, None, None], input_size[:, 1, None, None]
    inside = (place[None, :, None] < height) & (place[None, None, :] < width)
    planes = (canvas.float() - offset[:, None, None]) * scale[:, None, None]
    return planes.where(inside[..., None], 0).permute(0, 3, 1, 2).contiguous()


def onnx_network(path: Path, threads: int) -> Network:
    """Returns the graph in ONNX Runtime, on the CPU in float32."""
    import onnxruntime  # noqa: PLC0415  # not needed, and often not installed, where torch runs the network

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(planes: Tensor) -> Tensor:
        (embedding,) = session.run(["image_embedding"], {"image": planes.numpy()})
        return torch.from_numpy(embedding)

    return run


def torch_network(path: Path, device: torch.device, *, autocast: bool) -> Network:
    """Returns the exported program in torch on the device, in float32 or, with `autocast`, in bfloat16.

    Autocast keeps in float32 what bfloat16 would harm, such as normalisation layers and softmax.
    """
    from torch.export.passes import move_to_device_pass  # noqa: PLC0415  # only this network needs it

    # TF32 has ten bits of mantissa: not what compute_precision float32 promises.
    torch.backends.cudnn.allow_tf32 = False
    program = move_to_device_pass(torch.export.load(path), str(device)).module()

    def run(planes: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
            embedding: Tensor = program(planes)
        return embedding

    return run
