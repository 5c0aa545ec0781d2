"""A real Prometheus scrapes a real cluster at work: every query of every dashboard finds data."""

import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from legato.tests.deployments.server import Server, free_port, until
from legato.tests.k8s.compose import FOLDER
from legato.tests.k8s.load import strange_requests, work
from legato.tests.k8s.promql import queries_of, without_variables
from legato.tests.k8s.test_monitoring import DASHBOARDS, RULES

RANGE_S = 300  # of all queries: what has happened since the first scrape is in it
TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[httpx.Client]:
    """It has scraped the cluster before its work, and goes on."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("needs Debian's package prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    words = _configure(folder, server.port, port)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([binary, *words], stdout=log, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            until(lambda: bool(_values(client, "up == 1")), TIMEOUT_S, "the first scrape")
            work(server)
            yield client
    finally:
        process.kill()
        process.wait()


def _configure(folder: Path, router_port: int, port: int) -> list[str]:
    """The compose stack's configuration and our rules, but for the address and the pace."""
    config = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
    config["global"]["scrape_interval"] = "1s"
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{router_port}"]}]
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        group["interval"] = "1s"
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    return [
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]


def _values(client: httpx.Client, query: str) -> list[float]:
    """What a query returns now, without the quotients of nothing by nothing."""
    try:
        answer = client.get("/api/v1/query", params={"query": query})
    except httpx.TransportError:  # it starts
        return []
    assert answer.status_code in (200, 503), answer.text
    series = answer.json()["data"]["result"] if answer.status_code == 200 else []
    values = [float(one["value"][1]) for one in series]
    return [value for value in values if not math.isnan(value)]


def _wait_for_data(client: httpx.Client, query: str) -> None:
    until(lambda: bool(_values(client, query)), TIMEOUT_S, query)


def _rules(client: httpx.Client) -> list[dict[str, Any]]:
    groups = client.get("/api/v1/rules").json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_a_dashboard_returns_data(prometheus: httpx.Client, path: Path) -> None:
    for text in queries_of(json.loads(path.read_text(encoding="utf-8"))):
        _wait_for_data(prometheus, without_variables(text, RANGE_S))


def test_every_recorded_series_has_data(prometheus: httpx.Client) -> None:
    recorded = [rule["name"] for rule in _rules(prometheus) if rule["type"] == "recording"]
    assert recorded
    for name in recorded:
        _wait_for_data(prometheus, name)


def test_no_alert_is_a_mistake_and_none_fires_for_what_clients_do(prometheus: httpx.Client) -> None:
    until(
        lambda: all(rule["health"] == "ok" for rule in _rules(prometheus)),
        TIMEOUT_S,
        "every rule has been evaluated without an error",
    )
    alerts = [rule for rule in _rules(prometheus) if rule["type"] == "alerting"]
    assert alerts
    assert not [rule["name"] for rule in alerts if rule["state"] == "firing"]


def test_what_clients_name_makes_no_series(server: Server) -> None:
    work(server)
    before = _series(server)
    strange_requests(server)
    assert _series(server) == before


def _series(server: Server) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {(one.name, frozenset(one.labels.items())) for one in server.samples()}
