"""How full the caches in this process's memory are, read when metrics are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from hilum import telemetry_names as names


class MeasuredCache(Protocol):
    """A cache in memory that knows how full it is."""

    @property
    def capacity_bytes(self) -> int:
        """How much it keeps at most."""
        ...

    @property
    def used_bytes(self) -> int:
        """How much it keeps."""
        ...

    @property
    def evictions(self) -> int:
        """How many values it has forgotten to make room for others."""
        ...

    def __len__(self) -> int: ...


class MemoryMetrics(Collector):
    """Shows caches to Prometheus without a cost where they are used."""

    def __init__(self) -> None:
        self._caches: dict[str, MeasuredCache] = {}

    def watch(self, name: str, cache: MeasuredCache) -> None:
        """Shows a cache under the label `name`."""
        self._caches[name] = cache

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yields the metrics; see prometheus_client."""
        caches = list(self._caches.items())
        gauges = {
            names.MEMORY_CACHE_BYTES: lambda cache: cache.used_bytes,
            names.MEMORY_CACHE_CAPACITY: lambda cache: cache.capacity_bytes,
            names.MEMORY_CACHE_VALUES: len,
        }
        for metric, value in gauges.items():
            gauge = GaugeMetricFamily(metric.name, metric.text, labels=metric.labels)
            for name, cache in caches:
                gauge.add_metric([name], value(cache))
            yield gauge
        evictions = names.MEMORY_CACHE_EVICTIONS
        counter = CounterMetricFamily(evictions.name, evictions.text, labels=evictions.labels)
        for name, cache in caches:
            counter.add_metric([name], cache.evictions)
        yield counter
