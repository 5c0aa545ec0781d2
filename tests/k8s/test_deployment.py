"""The laptop's serveConfigV2 on a real Ray with the pods' environment, as clients meet it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from legato.tests.deployments.server import free_port
from legato.tests.k8s.local_ray import running_ray
from legato.tests.k8s.manifests import K8S, containers, environment, serve_config

LAPTOP = K8S / "overlays" / "laptop"
API_KEY = "a-key-from-a-secret"
ROUTER_PORTS = range(30000, 30004)  # test_access.py holds the manifests to them


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Differs from the laptop overlay in the port alone, which others on this machine may have."""
    pod_environment = environment(next(containers(LAPTOP)))
    config = serve_config(LAPTOP)
    config["http_options"] |= {"host": "127.0.0.1", "port": free_port()}
    with (
        tempfile.TemporaryDirectory(prefix="k8s-") as folder,  # short: Ray keeps sockets in it
        running_ray(Path(folder), {**pod_environment, "VLLM_API_KEY": API_KEY}) as node,
    ):
        node.deploy(config)
        yield f"http://127.0.0.1:{config['http_options']['port']}"


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
