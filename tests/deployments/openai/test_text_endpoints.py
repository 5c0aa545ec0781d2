"""/tokenize and /detokenize."""

from legato.tests.deployments.openai.harness import (
    MAX_MODEL_LEN,
    MODEL,
    encode,
    http_client,
    make_app,
)

APP = make_app()


async def test_a_text_goes_there_and_back() -> None:
    async with http_client(APP) as client:
        there = (await client.post("/tokenize", json={"model": MODEL, "prompt": "Größe 你"})).json()
        back = (await client.post("/detokenize", json={"tokens": there["tokens"]})).json()
    assert there == {
        "count": len(encode("Größe 你")),
        "max_model_len": MAX_MODEL_LEN,
        "tokens": list(encode("Größe 你")),
        "token_strs": None,
    }
    assert back == {"prompt": "Größe 你"}


async def test_a_conversation_is_rendered_before_it_is_tokenized() -> None:
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "add_generation_prompt": False,
        "return_token_strs": True,
    }
    async with http_client(APP) as client:
        answer = (await client.post("/tokenize", json=body)).json()
    assert "".join(answer["token_strs"]) == "<|start|>user\nhi<|end|>\n"


async def test_either_a_prompt_or_messages_must_be_given() -> None:
    async with http_client(APP) as client:
        for body in ({}, {"prompt": "a", "messages": [{"role": "user", "content": "hi"}]}):
            assert (await client.post("/tokenize", json=body)).status_code == 400


async def test_ids_outside_the_vocabulary_are_refused() -> None:
    async with http_client(APP) as client:
        for token_id in (-1, 100_000, 1 << 80):
            answer = await client.post("/detokenize", json={"tokens": [token_id]})
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == "tokens"
