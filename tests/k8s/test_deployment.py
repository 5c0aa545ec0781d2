"""The laptop's serveConfigV2 on a real Ray with the pods' environment, as clients meet it."""

import asyncio
import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from legato.tests.deployments.server import free_port, until
from legato.tests.deployments.steady_streams import SteadyStreams, steady_streams
from legato.tests.k8s.local_ray import LocalRay, running_ray
from legato.tests.k8s.manifests import K8S, containers, environment, serve_config

LAPTOP = K8S / "overlays" / "laptop"
API_KEY = "a-key-from-a-secret"
ROUTER_PORTS = range(30000, 30004)  # test_access.py holds the manifests to them
DEPLOYMENTS = ("router", "prefill-worker", "decode-worker")
CHANGE_S = 120.0
# Serve lets a router that goes serve on until no HAProxy knows it any more; 30 s are its default.
ENVIRONMENT = {"VLLM_API_KEY": API_KEY, "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "4"}


@dataclass(frozen=True)
class Deployed:
    """The application on its node."""

    node: LocalRay
    config: dict[str, Any]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.config['http_options']['port']}"

    def replicas(self) -> dict[str, set[str]]:
        """The ids of each deployment's replicas."""
        return {name: self.node.replicas(name) for name in DEPLOYMENTS}

    def changed(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Deploys its configuration with the application changed; returns at once."""
        config = copy.deepcopy(self.config)
        change(config["applications"][0])
        self.node.put(config)


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    """Differs from the laptop overlay in the port alone, which others on this machine may have."""
    pod_environment = environment(next(containers(LAPTOP)))
    config = serve_config(LAPTOP)
    config["http_options"] |= {"host": "127.0.0.1", "port": free_port()}
    with (
        tempfile.TemporaryDirectory(prefix="k8s-") as folder,  # short: Ray keeps sockets in it
        running_ray(Path(folder), pod_environment | ENVIRONMENT) as node,
    ):
        node.deploy(config)
        yield Deployed(node, config)


@pytest.fixture
def url(deployed: Deployed) -> str:
    return deployed.url


def _client(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60)


def test_a_chat_is_answered_token_by_token(url: str) -> None:
    body = {
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
        "max_tokens": 16,
        "stream": True,
    }
    with (
        _client(url, API_KEY) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        assert answer.status_code == 200
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert len(lines) > 3
    assert "Paris" in "".join(lines).replace('"', "")


def test_the_key_of_the_secret_is_asked_for(url: str) -> None:
    with _client(url, "another") as client:
        assert client.get("/v1/models").status_code == 401
        for path in ("/live", "/ready"):
            assert client.get(path).status_code == 200


def test_a_router_exports_its_metrics_on_a_port_of_its_own(url: str) -> None:
    texts = [_scrape(port) for port in ROUTER_PORTS]
    (text,) = [text for text in texts if "vllm:" in text]
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"vllm:generation_tokens", "vllm:kv_cache_usage_perc"} <= names


def _scrape(port: int) -> str:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    except httpx.TransportError:
        return ""


async def _until(condition: Callable[[], bool], streams: SteadyStreams, what: str) -> None:
    """Also waits for answers that began after it had come true."""
    await asyncio.to_thread(until, condition, CHANGE_S, what)
    num_answers = streams.num_answers
    async with asyncio.timeout(CHANGE_S):
        while streams.num_answers < num_answers + 8 and not streams.failures:
            await asyncio.sleep(0.1)


async def test_no_request_fails_while_the_deployment_changes(deployed: Deployed) -> None:
    before = deployed.replicas()

    def set_workers(app: dict[str, Any], number: int) -> None:
        app["deployments"] = [{"name": "decode-worker", "num_replicas": number}]

    def num_workers() -> int:
        return len(deployed.node.replicas("decode-worker"))

    def is_replaced() -> bool:
        now = deployed.replicas()
        return all(now[name] and not now[name] & before[name] for name in before)

    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with (
        httpx.AsyncClient(base_url=deployed.url, headers=headers, timeout=60) as client,
        steady_streams(client) as streams,
    ):
        deployed.changed(lambda app: set_workers(app, 2))
        await _until(lambda: num_workers() == 2, streams, "scaled up")
        one_more = deployed.replicas()
        assert all(before[name] <= one_more[name] for name in before)
        deployed.changed(lambda app: set_workers(app, 1))
        await _until(lambda: num_workers() == 1, streams, "scaled down")
        before = deployed.replicas()
        deployed.changed(lambda app: app["args"].update(max_num_queued_reqs=99))
        await _until(is_replaced, streams, "every replica is replaced")


def test_settings_change_without_a_new_replica(deployed: Deployed, url: str) -> None:
    before = deployed.replicas()
    settings = {"name": "router", "user_config": {"max_num_queued_reqs": 0}}
    workers = {"name": "decode-worker", "user_config": {"prefill_token_budget": 8}}

    def change(app: dict[str, Any]) -> None:
        app["args"]["max_num_queued_reqs"] = 99
        app["deployments"] = [settings, workers]

    def is_refused() -> bool:
        with _client(url, API_KEY) as client:
            answer = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1})
        return answer.status_code == 503 and int(answer.headers["retry-after"]) > 0

    deployed.changed(change)
    until(is_refused, CHANGE_S, "a queue without a place")
    assert deployed.replicas() == before
    settings.clear()
    settings.update({"name": "router"})
    deployed.changed(change)
    until(lambda: not is_refused(), CHANGE_S, "the queue that the application was started with")
    assert deployed.replicas() == before
