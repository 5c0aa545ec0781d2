"""A real Prometheus scrapes an exporter of ours: every query of every dashboard returns data."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from legato.tests.deployments.server import free_port, until
from legato.tests.k8s.exporter import busy_metrics, served
from legato.tests.k8s.promql import queries_of, without_variables
from legato.tests.k8s.test_monitoring import DASHBOARDS, RULES

RANGE_S = 4  # as the rules' ranges are minutes, what they record takes as long: only asked for
TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("needs Debian's package prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with served(busy_metrics()) as exporter_port:
        port = free_port()
        words = _configure(folder, exporter_port, port)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([binary, *words], stdout=log, stderr=subprocess.STDOUT)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
                _wait_for_data(client, "legato:workers:count")  # the first scrape and rules
                yield client
        finally:
            process.kill()
            process.wait()


def _configure(folder: Path, exporter_port: int, port: int) -> list[str]:
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        group["interval"] = "1s"
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    config = {
        "global": {"scrape_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": "legato",
                "static_configs": [{"targets": [f"127.0.0.1:{exporter_port}"]}],
            }
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    return [
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]


def _returns_data(client: httpx.Client, query: str) -> bool:
    try:
        answer = client.get("/api/v1/query", params={"query": query})
    except httpx.TransportError:
        return False
    assert answer.status_code in (200, 503), answer.text
    return answer.status_code == 200 and bool(answer.json()["data"]["result"])


def _wait_for_data(client: httpx.Client, query: str) -> None:
    until(lambda: _returns_data(client, query), TIMEOUT_S, query)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_a_dashboard_returns_data(prometheus: httpx.Client, path: Path) -> None:
    for text in queries_of(json.loads(path.read_text(encoding="utf-8"))):
        _wait_for_data(prometheus, without_variables(text, RANGE_S))


def test_every_recorded_series_has_data_and_no_alert_is_a_mistake(prometheus: httpx.Client) -> None:
    groups = prometheus.get("/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert not [rule["name"] for rule in rules if rule.get("lastError")]
    for rule in rules:
        if rule["type"] == "recording":
            _wait_for_data(prometheus, rule["name"])
