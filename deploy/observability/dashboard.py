"""Writes dashboard.json for Grafana: `python -m deploy.observability.dashboard`.

One section a service (rate, errors, duration), then queues and batches, caches, dependencies.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("dashboard.json")
COLUMNS, HEIGHT = 24, 8
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SERVICES = ("Encoder", "Decoder", "Fusion")


@dataclass(frozen=True)
class Panel:
    """A chart over time.

    Attributes:
        title: Above it.
        unit: In Grafana's words: reqps, s, percentunit, bytes, short.
        queries: Legend to PromQL.
        text: What it shows and what to look for.
    """

    title: str
    unit: str
    queries: dict[str, str]
    text: str


def quantile(share: float, metric: str, labels: str, by: str) -> str:
    """Returns a quantile of a histogram."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', labels, f'{by}, le')})"


def rate(metric: str, labels: str, by: str) -> str:
    """Returns a sum of rates."""
    return f'sum by ({by}) (rate({metric}{{job=~"$job"{labels}}}[$__rate_interval]))'


def calls(service: str) -> list[Panel]:
    """Rate, errors and duration of a service's methods."""
    of = f',method=~"/hilum.v1.{service}Service/.*"'
    return [
        Panel("Rate", "reqps", {"{{method}}": rate("hilum_rpcs_total", of, "method")}, "Finished RPCs a second."),
        Panel(
            "Errors",
            "percentunit",
            {
                "{{method}} {{reason}}": rate("hilum_rpcs_total", of + ',code!="OK"', "method, reason")
                + " / on (method) group_left "
                + rate("hilum_rpcs_total", of, "method")
            },
            "Share of a method's RPCs that ended with a reason. OVERLOADED is a refusal, not a fault.",
        ),
        Panel(
            "Duration",
            "s",
            {
                f"{{{{method}}}} p{share * 100:.0f}": quantile(share, "hilum_rpc_seconds", of + ',code="OK"', "method")
                for share in (0.5, 0.99)
            },
            "Of RPCs that succeeded.",
        ),
        Panel(
            "Stages",
            "s",
            {"{{method}} {{stage}}": quantile(0.95, "hilum_stage_seconds", of, "method, stage")},
            "Where the time goes, p95.",
        ),
    ]


QUEUES = [
    Panel(
        "Queue wait",
        "s",
        {"{{pool}} p95": quantile(0.95, "hilum_queue_seconds", "", "pool")},
        "Time until a permit was given.",
    ),
    Panel(
        "Queue length",
        "percentunit",
        {
            "{{pool}}": 'sum by (pool) (hilum_permits{job=~"$job",state="waiting"})'
            ' / (sum by (pool) (hilum_permit_limit{job=~"$job",state="waiting"}) > 0)'
        },
        "How full queues are; refusals follow at 100 %.",
    ),
    Panel(
        "Running",
        "short",
        {"{{pool}}": 'sum by (pool) (hilum_permits{job=~"$job",state="running"})'},
        "Pieces of work that run.",
    ),
    Panel("Refusals", "reqps", {"{{pool}}": rate("hilum_refusals_total", "", "pool")}, "Work refused as too much."),
    Panel("Held", "bytes", {"{{job}}": 'sum by (job) (hilum_held_bytes{job=~"$job"})'}, "Requests being handled."),
    Panel(
        "In flight",
        "short",
        {"{{method}}": 'sum by (method) (hilum_rpcs_in_flight{job=~"$job"})'},
        "RPCs being handled.",
    ),
    Panel(
        "Batch",
        "short",
        {
            "prompts a run, {{model}}": rate("hilum_batch_size_sum", "", "model")
            + " / "
            + rate("hilum_batch_size_count", "", "model"),
            "images a run in Triton, {{model}}": "sum by (model) (rate(hilum_model_images_total[$__rate_interval]))"
            " / sum by (model) (rate(hilum_model_runs_total[$__rate_interval]))",
        },
        "Mean sizes of batches.",
    ),
]
CACHES = [
    Panel(
        "Hits",
        "percentunit",
        {
            "{{cache}}": rate("hilum_cache_events_total", ',event="hit"', "cache")
            + " / "
            + rate("hilum_cache_events_total", ',event=~"hit|miss"', "cache")
        },
        "Share of look-ups that found something.",
    ),
    Panel(
        "Trouble",
        "reqps",
        {"{{cache}} {{event}}": rate("hilum_cache_events_total", ',event!~"hit|miss|stored"', "cache, event")},
        "corrupt must stay at 0.",
    ),
    Panel(
        "Memory",
        "bytes",
        {
            "{{cache}}": 'sum by (cache) (hilum_memory_cache_bytes{job=~"$job"})',
            "{{cache}} capacity": 'sum by (cache) (hilum_memory_cache_capacity_bytes{job=~"$job"})',
        },
        "Values in the processes' memory.",
    ),
    Panel(
        "Values",
        "short",
        {"{{cache}}": 'sum by (cache) (hilum_memory_cache_values{job=~"$job"})'},
        "Images ready for prompts, embeddings, transforms.",
    ),
    Panel(
        "Evictions",
        "reqps",
        {"{{cache}}": rate("hilum_memory_cache_evictions_total", "", "cache")},
        "Forgotten to make room; many for each click mean too little memory or no ring hash.",
    ),
    Panel(
        "Images encoded",
        "reqps",
        {"{{backend}}": rate("hilum_encoder_runs_total", "", "backend")},
        "Each image should be encoded once.",
    ),
]
DEPENDENCIES = [
    Panel(
        "Up",
        "short",
        {"{{dependency}}": 'min by (dependency) (hilum_dependency_up{job=~"$job"})'},
        "0 where any replica gets no answer.",
    ),
    Panel(
        "Duration",
        "s",
        {
            "{{dependency}} {{operation}} p95": quantile(
                0.95, "hilum_dependency_seconds", ',outcome="ok"', "dependency, operation"
            )
        },
        "Calls to Redis and Triton that succeeded.",
    ),
    Panel(
        "Failures",
        "reqps",
        {
            "{{dependency}} {{operation}}": rate(
                "hilum_dependency_seconds_count", ',outcome="failed"', "dependency, operation"
            )
        },
        "Calls to Redis and Triton that failed.",
    ),
    Panel("Audit", "reqps", {"{{event}}": rate("hilum_audit_events_total", "", "event")}, "lost must stay at 0."),
    Panel("Transforms", "reqps", {"{{flag}}": rate("hilum_transforms_total", "", "flag")}, "By quality flag."),
]


def sections() -> dict[str, list[Panel]]:
    """Returns all panels under their headings."""
    return {
        **{service: calls(service) for service in SERVICES},
        "Queues and batches": QUEUES,
        "Caches": CACHES,
        "Dependencies and transforms": DEPENDENCIES,
    }


def _chart(panel: Panel, number: int, x: int, y: int, width: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
            for index, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def dashboard() -> dict[str, Any]:
    """Returns the dashboard in Grafana's schema 39."""
    panels: list[dict[str, Any]] = []
    y = 0
    for heading, charts in sections().items():
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": heading, "collapsed": False, "gridPos": place})
        y += 1
        in_a_row = min(len(charts), 4) if len(charts) % 3 else 3
        width = COLUMNS // in_a_row
        for index, panel in enumerate(charts):
            row, column = divmod(index, in_a_row)
            panels.append(_chart(panel, len(panels) + 1, column * width, y + row * HEIGHT, width))
        y += HEIGHT * -(-len(charts) // in_a_row)
    jobs = "label_values(hilum_rpcs_total, job)"
    job = {"name": "job", "type": "query", "datasource": DATASOURCE, "query": jobs, "definition": jobs, "refresh": 2}
    return {
        "uid": "hilum",
        "title": "Hilum",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {**job, "multi": True, "includeAll": True, "allValue": ".*"},
            ]
        },
        "panels": panels,
    }


def text() -> str:
    """Returns the file's content."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
