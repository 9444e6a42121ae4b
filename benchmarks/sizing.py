"""What one deployment needs, from build/bench.json: `python -m benchmarks.sizing --clicks-per-s 200 --images 5000`.

    make sizing

Prints the units (clicks a second per core, embeddings per GB) and, for a load, the number of decoder cores, their
memory, Redis' memory and encoder cores. Nothing is assumed that was not measured: a figure that is missing is named
with the command that measures it. Encoders on a GPU are not sized: no benchmark here measures one.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.report import FILE

# Figure to the command that measures it.
NEEDED = {
    "load_cpu_ms_per_click": "python -m benchmarks load",
    "replica_hot_image_bytes": "python -m benchmarks replicas",
    "embedding_redis_bytes": "python -m benchmarks replicas",
    "replica_encode_cpu_ms": "python -m benchmarks replicas",
}
GB = 1e9
# Of a core's time, so that clicks do not queue behind each other: see the simulation of a hundred replicas.
UTILISATION = 0.5


@dataclass(frozen=True)
class Demand:
    """What a deployment is for.

    Attributes:
        clicks_per_s: PredictMasks calls with one prompt, at the busiest time.
        images: Whose embeddings Redis keeps.
        hot_images: On which people click at the same time.
        images_per_s: New images, at the busiest time.
    """

    clicks_per_s: float
    images: int
    hot_images: int
    images_per_s: float


def units(figures: Mapping[str, float]) -> dict[str, float]:
    """Returns what one core, or one GB, is good for."""
    return {
        "clicks per second and decoder core": 1000 / figures["load_cpu_ms_per_click"],
        "hot images per GB of decoder memory": GB / figures["replica_hot_image_bytes"],
        "embeddings per GB of Redis": GB / figures["embedding_redis_bytes"],
        "images per second and encoder core": 1000 / figures["replica_encode_cpu_ms"],
    }


def deployment(figures: Mapping[str, float], demand: Demand) -> dict[str, float]:
    """Returns cores and GB for a demand, cores busy half of the time."""
    decoder_cores = demand.clicks_per_s * figures["load_cpu_ms_per_click"] / 1000 / UTILISATION
    encoder_cores = demand.images_per_s * figures["replica_encode_cpu_ms"] / 1000 / UTILISATION
    return {
        "decoder cores": math.ceil(decoder_cores),
        "GB of decoder memory for hot images, over all replicas": demand.hot_images
        * figures["replica_hot_image_bytes"]
        / GB,
        "GB of Redis": demand.images * figures["embedding_redis_bytes"] / GB,
        "encoder cores, without GPU": math.ceil(encoder_cores),
    }


def missing(figures: Mapping[str, object]) -> list[str]:
    """Returns one line for each figure that was not measured yet."""
    return [f"{name} is not in {FILE.name}: run `{command}`" for name, command in NEEDED.items() if name not in figures]


def _show(title: str, values: Mapping[str, float]) -> None:
    table = Table(title=title)
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in values.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)


def main() -> int:
    """Parses the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks-per-s", type=float, default=20.0, help="at the busiest time")
    parser.add_argument("--images", type=int, default=5000, help="whose embeddings Redis keeps")
    parser.add_argument("--hot-images", type=int, default=200, help="on which people click at the same time")
    parser.add_argument("--images-per-s", type=float, default=1.0, help="new ones, at the busiest time")
    options = parser.parse_args()
    known: dict[str, float] = json.loads(FILE.read_text()) if FILE.exists() else {}
    absent = missing(known)
    if absent:
        print("\n".join(absent))
        return 1
    demand = Demand(options.clicks_per_s, options.images, options.hot_images, options.images_per_s)
    _show(f"units ({known.get('machine')})", units(known))
    _show(
        f"{demand.clicks_per_s:g} clicks/s, {demand.images} images in Redis, {demand.hot_images} hot, "
        f"{demand.images_per_s:g} new ones/s",
        deployment(known, demand),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
