"""deploy/observability: dashboard and alerts ask for metrics that exist, and the rules do what their tests say."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.observability.dashboard import text
from hilum import telemetry_names as names
from tests.architecture.test_imports import ROOT

FOLDER = ROOT / "deploy" / "observability"
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
PANELS = [panel for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"] if "targets" in panel]
# What Prometheus itself adds.
SCRAPED = {"job", "instance", "le"}
SELECTOR = re.compile(r"\b(hilum_[a-z_]+|up)\b(?:\{([^}]*)\})?")


def series() -> dict[str, set[str]]:
    """Returns every series of the registry with its labels."""
    known = {"up": set(SCRAPED)}
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    for metric in (*names.METRICS, *names.TRITON_METRICS):
        for suffix in suffixes[metric.kind]:
            known[metric.name + suffix] = {*metric.labels, *SCRAPED}
    return known


EXPRESSIONS = [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_metrics_exist(expression: str) -> None:
    """Every metric and label of an expression stands in the registry."""
    known, used = series(), SELECTOR.findall(expression)
    assert used
    labels = set()
    for name, matchers in used:
        assert name in known
        asked = set(re.findall(r"([a-z_]+)(?:=~|!~|!=|=)", matchers))
        assert asked <= known[name]
        labels |= known[name]
    grouped = re.findall(r"(?:by|on) \(([^)]*)\)", expression)
    assert {label.strip() for group in grouped for label in group.split(",")} <= labels


def test_every_metric_is_looked_at() -> None:
    """No metric of the registry is left out of dashboard and alerts."""
    used = {name for expression in EXPRESSIONS for name, _ in SELECTOR.findall(expression)}
    unseen = {
        metric.name
        for metric in (*names.METRICS, *names.TRITON_METRICS)
        if not any(re.fullmatch(metric.name + "(_total|_bucket|_sum|_count)?", name) for name in used)
    }
    assert unseen == set()


def test_the_dashboard_is_as_written() -> None:
    """dashboard.json is what `python -m deploy.observability.dashboard` writes."""
    assert (FOLDER / "dashboard.json").read_text() == text()


def test_panels_do_not_overlap() -> None:
    """Each cell of the dashboard's grid belongs to one panel at most."""
    places = [panel["gridPos"] for panel in json.loads(text())["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_alert_says_what_to_do_and_is_tested() -> None:
    """A rule has a severity, a summary, an action, and a test in which it fires; pages that it names exist."""
    fired = set(re.findall(r"exp_samples.*|\{labels: .*", (FOLDER / "alerts_test.yaml").read_text()))
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "action"} <= set(rule["annotations"])
        assert any(f'alertname="{rule["alert"]}"' in line for line in fired)
        for page in re.findall(r"docs/\S+\.md", rule["annotations"]["action"]):
            assert (ROOT / page).is_file(), page


def test_promtool() -> None:
    """Prometheus' own tool accepts the rules, and their tests pass; skipped where it is not installed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: `apt-get install prometheus` brings it")
    for command in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        run = subprocess.run([promtool, *command], cwd=FOLDER, check=False, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


def test_the_dashboard_is_promql(tmp_path: Path) -> None:
    """Prometheus' own tool parses every query of the dashboard; skipped where it is not installed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: `apt-get install prometheus` brings it")
    queries = [target["expr"].replace("$__rate_interval", "5m") for panel in PANELS for target in panel["targets"]]
    rules = [{"record": f"query_{index}", "expr": query} for index, query in enumerate(queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    run = subprocess.run([promtool, "check", "rules", str(file)], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
