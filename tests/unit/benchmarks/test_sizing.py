import pytest

from benchmarks.sizing import NEEDED, Demand, deployment, missing, units

FIGURES = {
    "load_cpu_ms_per_click": 20.0,
    "replica_hot_image_bytes": 1e7,
    "embedding_redis_bytes": 2e6,
    "replica_encode_cpu_ms": 500.0,
}


def test_units_by_hand() -> None:
    """A core at 20 ms a click answers 50 a second; a GB holds 500 embeddings of 2 MB."""
    result = units(FIGURES)
    assert result["clicks per second and decoder core"] == 50
    assert result["embeddings per GB of Redis"] == 500
    assert result["hot images per GB of decoder memory"] == 100
    assert result["images per second and encoder core"] == 2


def test_a_deployment_by_hand() -> None:
    """100 clicks a second of 20 ms are two cores' work, hence four cores that are busy half of the time."""
    result = deployment(FIGURES, Demand(clicks_per_s=100, images=5000, hot_images=200, images_per_s=2))
    assert result["decoder cores"] == 4
    assert result["GB of Redis"] == pytest.approx(10)
    assert result["GB of decoder memory for hot images, over all replicas"] == pytest.approx(2)
    assert result["encoder cores, without GPU"] == 2


def test_what_is_missing_is_named_with_its_command() -> None:
    """Every figure that was not measured is named; nothing is made up in its place."""
    assert missing(FIGURES) == []
    lines = missing({})
    assert len(lines) == len(NEEDED)
    assert "python -m benchmarks load" in lines[0]
