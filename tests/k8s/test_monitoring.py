"""Rules and dashboards ask for what routers really export."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from legato.tests.k8s.exporter import busy_metrics
from legato.tests.k8s.manifests import K8S
from legato.tests.k8s.promql import Expression, panels_of, queries_of, without_variables

MONITORING = K8S / "monitoring"
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
RULES = MONITORING / "rules.yaml"
ALERT_TESTS = Path(__file__).parent / "alerts.yaml"
# What Prometheus adds to each series that it scrapes.
SCRAPED_LABELS = frozenset({"job", "instance"})


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _dashboard(path: Path) -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return dashboard


def _expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and the expression."""
    for rule in _rules():
        yield rule.get("record") or rule["alert"], rule["expr"]
    for path in DASHBOARDS:
        for query in queries_of(_dashboard(path)):
            yield path.name, query


@cache
def _exported() -> dict[str, frozenset[str]]:
    """Every sample's name, and its labels."""
    text = busy_metrics().render().decode()
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return {name: frozenset(found) | SCRAPED_LABELS for name, found in labels.items()}


@cache
def _recorded() -> dict[str, frozenset[str]]:
    """What the rules record, and the labels that are left: those of the outermost grouping."""
    rules = {rule["record"]: rule["expr"] for rule in _rules() if "record" in rule}
    return {name: Expression.read(expr).grouping for name, expr in rules.items()}


def test_every_metric_and_label_of_an_expression_exists() -> None:
    known = _exported() | _recorded()
    for where, text in _expressions():
        expression = Expression.read(text)
        assert expression.metrics, (where, text)
        assert expression.metrics <= known.keys(), where
        for selector in expression.selectors:
            assert selector.labels <= known[selector.metric], (where, text)
        labels = {label for metric in expression.metrics for label in known[metric]}
        assert expression.grouping <= labels, (where, text)


def test_a_metric_that_does_not_exist_would_be_noticed() -> None:
    text = 'sum by (pool) (rate(vllm:gpu_cache_usage_perc{model="m"}[5m])) > 0.5'
    expression = Expression.read(text)
    assert expression.metrics == {"vllm:gpu_cache_usage_perc"}
    assert not expression.metrics & (_exported() | _recorded()).keys()
    assert expression.selectors[0].labels == {"model"}
    assert expression.grouping == {"pool"}


def test_what_workers_report_to_every_router_is_counted_once() -> None:
    per_worker = {name for name, labels in _exported().items() if "worker" in labels}
    once = ("max by", "count by", "absent(", "increase(", "min_over_time(")
    for where, text in _expressions():
        if Expression.read(text).metrics & per_worker:
            assert any(word in text for word in once), where
            assert "sum(vllm:" not in text and "sum by (role) (vllm:" not in text, where


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_can_be_imported_wherever_it_is_needed(path: Path) -> None:
    dashboard = _dashboard(path)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    asked = [one["datasource"] for one in variables.values() if one["type"] == "query"]
    asked += [panel["datasource"] for panel in panels_of(dashboard)]
    assert {one["uid"] for one in asked} == {"${datasource}"}
    for query in queries_of(dashboard):
        assert {word.split('"')[0] for word in query.split("$")[1:]}  # some variable narrows it


def test_dashboards_are_told_apart() -> None:
    dashboards = [_dashboard(path) for path in DASHBOARDS]
    assert [path.stem for path in DASHBOARDS] == ["disaggregation", "engine", "service"]
    assert len({one["uid"] for one in dashboards}) == len({one["title"] for one in dashboards}) == 3


def test_alerts_say_what_is_wrong_and_what_to_do() -> None:
    for rule in _rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert rule["annotations"]["summary"] and rule["annotations"]["description"]


def test_the_operators_rules_are_the_same() -> None:
    path = K8S / "components" / "prometheus-operator" / "rules.yaml"
    resource = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert resource["spec"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    return found


def test_every_alert_fires_when_it_should_and_not_before(promtool: str) -> None:
    words = [promtool, "test", "rules", str(ALERT_TESTS)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    text = ALERT_TESTS.read_text(encoding="utf-8")
    assert set(re.findall(r'alertname="(\w+)"', text)) == {
        rule["alert"] for rule in _rules() if "alert" in rule
    }


def test_prometheus_takes_every_rule_and_query(promtool: str, tmp_path: Path) -> None:
    queries = [without_variables(text, 60) for _, text in _expressions()]
    rules = [{"record": f"query:{i}", "expr": text} for i, text in enumerate(queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    for path in (RULES, file):
        done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
