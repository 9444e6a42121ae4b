"""The client without asyncio, against the fakes of hilum.testing."""

import threading

import numpy as np
import pytest

from hilum import Box, Client, Prompt, Transform
from hilum.connection import open_channel
from hilum.errors import ModelNotFound
from hilum.testing import FakeEncoder, serve_in_thread
from tests.unit.test_client import LARGE, PATIENCE_S, image


def test_without_asyncio() -> None:
    """Client does in a plain thread what AsyncClient does, for several threads at once, and closes twice."""
    encoder = FakeEncoder()
    results = []
    with serve_in_thread(encoder) as endpoints:
        client = Client(endpoints, tenant="a")

        def work(seed: int) -> None:
            results.append(client.predict(image(seed), [Prompt(box=LARGE)]).masks[0][0].area_px)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert results == [200 * 200] * 4
        ended = []
        outcomes = client.encode_many([image(9), image(0)], on_outcome=lambda outcome: ended.append(outcome.index))
        assert [outcome.index for outcome in outcomes] == [0, 1]
        assert sorted(ended) == [0, 1]
        assert [model.name for model in client.models()] == ["fake"]
        points = client.transform_points(Transform.from_matrix(np.eye(3), (5, 5), (5, 5)), [[1.0, 2.0]])
        assert points.tolist() == [[1, 2]]
        with client.point_stream(Transform.from_matrix(np.eye(3), (5, 5), (5, 5))) as move:
            assert [move([[x, 2.0]]).tolist() for x in (1.0, 3.0)] == [[[1, 2]], [[3, 2]]]
        client.close()
        client.close()
    assert encoder.encoder_runs == 5


def test_errors_without_asyncio() -> None:
    """Client raises the same exceptions, and works on after them."""
    encoder = FakeEncoder()
    with serve_in_thread(encoder) as endpoints, Client(endpoints, channel=open_channel) as client:
        encoder.fail_next(ModelNotFound("gone"))
        with pytest.raises(ModelNotFound):
            client.encode(image())
        assert client.encode(image()).model == "fake"


def test_dragging_without_asyncio() -> None:
    """Client drags too."""
    with serve_in_thread() as endpoints, Client(endpoints) as client, client.dragging(image()) as drag:
        number = drag.move([Prompt(box=Box(10, 10, 30, 30))])
        assert drag.answer().sequence_number == number
