"""Models, probes and figures."""

import openai
import pytest

from legato.tests.deployments.openai.harness import (
    ALIAS,
    MODEL,
    ScriptedBackend,
    http_client,
    make_app,
    openai_client,
)


async def test_every_served_name_is_listed_and_found_slashes_and_all() -> None:
    async with openai_client(make_app()) as client:
        assert [model.id async for model in client.models.list()] == [MODEL, ALIAS]
        assert (await client.models.retrieve(MODEL)).id == MODEL
        with pytest.raises(openai.NotFoundError) as refusal:
            await client.models.retrieve("no/such")
    assert refusal.value.code == "model_not_found"


@pytest.mark.parametrize(("well", "status"), [(True, 200), (False, 503)])
async def test_probes_tell_how_the_backend_is(well: bool, status: int) -> None:
    async with http_client(make_app(ScriptedBackend(well=well))) as client:
        for path in ("/health", "/ping", "/live", "/ready"):
            answer = await client.get(path)
            assert answer.status_code == status
            assert ("retry-after" in answer.headers) == (not well)


async def test_load_and_version_are_json() -> None:
    async with http_client(make_app()) as client:
        assert (await client.get("/load")).json() == {"running": 0}
        assert (await client.get("/version")).json() == {"version": "0.0.1"}


async def test_metrics_count_what_was_served() -> None:
    async with http_client(make_app()) as client:
        await client.post("/v1/completions", json={"prompt": "a", "max_tokens": 5})
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert f'vllm:generation_tokens_total{{model_name="{MODEL}"}} 5.0' in answer.text
    assert f'finished_reason="length",model_name="{MODEL}"}} 1.0' in answer.text
