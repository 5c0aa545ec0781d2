"""What operators see of a running `legato serve`: models, probes, metrics, timeline, sockets."""

import json
import time
from typing import Any

import httpx

from legato.tests.deployments.server import Server

TTFT_STAGES = ("admission", "queue", "prefill", "first_token")
NETWORK_S = 0.02  # there and back on one machine, with room
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def test_it_prints_what_operators_look_for_and_lines_to_try(server: Server) -> None:
    output = server.output()
    assert "KV cache size: " in output
    assert "maximum concurrency for " in output
    assert f"curl {server.url}/v1/chat/completions" in output
    assert f'OpenAI(base_url="{server.url}/v1"' in output
    assert "Traceback" not in output


def test_probes_models_and_version_answer(server: Server) -> None:
    for path in ("/health", "/live", "/ready", "/ping", "/version", "/load"):
        assert server.get(path).status_code == 200, path
    card = server.model()
    assert card["object"] == "model"
    assert card["max_model_len"] >= 512
    assert server.get(f"/v1/models/{card['id']}").json() == card


def test_tokenize_and_detokenize_are_each_others_inverse(server: Server) -> None:
    text = "Grüße aus Zürich, 你好!"
    tokens = httpx.post(f"{server.url}/tokenize", json={"prompt": text}).json()
    assert tokens["count"] == len(tokens["tokens"])
    again = httpx.post(f"{server.url}/detokenize", json={"tokens": tokens["tokens"]}).json()
    assert again["prompt"] == text


def test_nothing_listens_on_another_interface_and_http_is_where_it_was_asked_for(
    server: Server,
) -> None:
    listening = server.listening()
    assert server.port in {port for _, port, _ in listening}
    assert [one for one in listening if one[0] not in LOOPBACK] == []


def test_metrics_have_vllms_names_and_our_own(server: Server) -> None:
    _ask(server, max_tokens=4)
    names = {sample.name for sample in server.samples()}
    assert names >= {
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:prefix_cache_queries_total",
        "vllm:prefix_cache_hits_total",
        "vllm:num_preemptions_total",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:request_success_total",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:e2e_request_latency_seconds_bucket",
        "legato_reserved_blocks",
        "legato_quarantined_blocks",
        "legato_handover_total",
        "legato_transfer_bytes_total",
    }
    roles = {one.labels["role"] for one in server.samples() if "role" in one.labels}
    assert roles == {"prefill", "decode"}


def test_counters_rise_by_what_was_generated(server: Server) -> None:
    before = server.total("vllm:generation_tokens_total"), server.total("vllm:prompt_tokens_total")
    usage = _ask(server, max_tokens=21).json()["usage"]
    generated = server.total("vllm:generation_tokens_total") - before[0]
    assert generated == usage["completion_tokens"] == 21
    assert server.total("vllm:prompt_tokens_total") - before[1] == usage["prompt_tokens"]


def test_the_stages_before_the_first_token_add_up_to_the_time_that_a_client_measures(
    server: Server,
) -> None:
    gaps_s: list[float] = []
    with httpx.Client(base_url=server.url, timeout=30) as client:
        while len(gaps_s) < 8 or (min(gaps_s) >= NETWORK_S and len(gaps_s) < 50):
            i = len(gaps_s)
            client_ttft_s, timeline = _timed_stream(client, f"{i} " + "a prompt of its own " * 40)
            gaps_s.append(client_ttft_s - sum(timeline[stage] for stage in TTFT_STAGES))
            assert timeline["transfer_bytes"] > 0
            assert timeline["reserve"] >= 0 and timeline["transfer"] > 0
    assert min(gaps_s) > 0  # the client's time has the way there and back in it
    assert min(gaps_s) < NETWORK_S  # and on a busy machine some of them have nothing else


def test_a_whole_answer_bears_its_timeline_in_usage_and_header(server: Server) -> None:
    answer = _ask(server, max_tokens=4, return_timeline=True)
    timeline = answer.json()["usage"]["timeline"]
    assert timeline.keys() >= set(TTFT_STAGES)
    assert json.loads(answer.headers["x-legato-timeline"]) == timeline
    assert "timeline" not in _ask(server, max_tokens=4).json()["usage"]


def test_a_second_prompt_with_the_same_beginning_hits_the_prefix_cache(server: Server) -> None:
    prompt = f"{time.monotonic()} " + "the same long beginning " * 20
    first = _ask(server, prompt=prompt, max_tokens=2).json()["usage"]
    second = _ask(server, prompt=prompt + "!", max_tokens=2).json()["usage"]
    assert first["prompt_tokens_details"]["cached_tokens"] < first["prompt_tokens"] // 2
    assert second["prompt_tokens_details"]["cached_tokens"] >= first["prompt_tokens"] - 32


def _ask(server: Server, **fields: Any) -> httpx.Response:
    body = {"prompt": "Hello", "temperature": 0, "ignore_eos": True, **fields}
    answer = httpx.post(f"{server.url}/v1/completions", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def _timed_stream(client: httpx.Client, prompt: str) -> tuple[float, dict[str, float]]:
    """Seconds until the first event, and the timeline that comes with the usage."""
    body = {
        "prompt": prompt,
        "max_tokens": 64,  # so many that the handover is over before the end
        "stream": True,
        "ignore_eos": True,
        "return_timeline": True,
    }
    started = time.monotonic()
    ttft_s = 0.0
    timeline: dict[str, float] = {}
    with client.stream("POST", "/v1/completions", json=body) as response:
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            ttft_s = ttft_s or time.monotonic() - started
            usage = json.loads(line.removeprefix("data: ")).get("usage") or {}
            timeline |= usage.get("timeline") or {}
    return ttft_s, timeline
