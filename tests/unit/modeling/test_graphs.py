"""modeling.graphs: what export writes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from modeling.graphs import OPSET, decoder_graphs, encoder_graph, write_graph
from tests.congruence.oracle import lite_medsam, random_sam


@pytest.mark.parametrize("model", [random_sam, lite_medsam], ids=["ViT", "TinyViT"])
def test_an_encoder_graph_takes_any_number_of_images(tmp_path: Path, model: Any) -> None:
    """Images encoded together get what each gets alone, and what torch answers."""
    encoder = model()
    write_graph(encoder_graph(encoder, 256), tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "image_encoder.onnx", providers=["CPUExecutionProvider"])
    images = torch.rand(3, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = encoder.image_encoder(images).numpy()
    for batch in (images[:1], images):
        (found,) = session.run(["image_embedding"], {"image": batch.numpy()})
        np.testing.assert_allclose(found, expected[: len(batch)], rtol=0, atol=1e-5 * np.abs(expected).max())


def test_large_weights_lie_beside_the_graph(tmp_path: Path) -> None:
    """Above the limit the graph is small, its weights are one file beside it, and it still runs."""
    graph = next(decoder_graphs(random_sam()))
    write_graph(graph, tmp_path, external_data_bytes=1000)
    assert sorted(path.name for path in tmp_path.iterdir()) == [graph.filename, f"{graph.filename}.data"]
    assert (tmp_path / graph.filename).stat().st_size < 100_000 < (tmp_path / f"{graph.filename}.data").stat().st_size
    session = onnxruntime.InferenceSession(tmp_path / graph.filename, providers=["CPUExecutionProvider"])
    assert session.run(None, {name: tensor.numpy() for name, tensor in graph.inputs.items()})


def test_graphs_use_standard_operators_only(tmp_path: Path) -> None:
    """Any ONNX runtime can run the graphs: standard domain, one operator set."""
    model = random_sam()
    for graph in [encoder_graph(model, 256), *decoder_graphs(model)]:
        write_graph(graph, tmp_path)
        written = onnx.load(tmp_path / graph.filename)
        onnx.checker.check_model(written)
        assert [(opset.domain, opset.version) for opset in written.opset_import] == [("", OPSET)]
