"""Fakes of the services, for tests of programs that use Hilum: the contract without a model.

They hold requests to the same rules as the services, answer with the same errors, and draw simple masks instead of
predicting them, always the same ones. Hilum's own contract tests run against them and against the services::

    async with serve_in_process() as endpoints, AsyncClient(endpoints) as client:
        prediction = await client.predict(image, [Prompt(box=Box(10, 10, 30, 20))])
"""

from hilum.testing.decoder import FakeDecoder
from hilum.testing.encoder import FakeEncoder
from hilum.testing.fusion import FakeFusion
from hilum.testing.model import FakeModel
from hilum.testing.server import serve_in_process, serve_in_thread

__all__ = ["FakeDecoder", "FakeEncoder", "FakeFusion", "FakeModel", "serve_in_process", "serve_in_thread"]
