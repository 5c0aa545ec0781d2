"""POST /tokenize and /detokenize, in vLLM's shapes."""

from starlette.requests import Request
from starlette.responses import Response

from legato.deployments.openai.answer_format import encode_json
from legato.deployments.openai.body import read_request
from legato.deployments.openai.conversation import to_conversation
from legato.deployments.openai.prompts import check_token_ids
from legato.deployments.openai.schema import DetokenizeRequest, TokenizeRequest
from legato.deployments.openai.service import ApiService
from legato.deployments.openai.tokenizer import ChatOptions
from legato.deployments.openai.tool_use import read_tools
from legato.engine.errors import InvalidRequestError


async def tokenize(service: ApiService, http: Request) -> Response:
    body = await read_request(http, TokenizeRequest, service.limits.max_body_bytes)
    service.info.resolve_model(body.model)
    token_ids = await _encode(service, body)
    texts = service.tokenizer.token_texts
    answer = {
        "count": len(token_ids),
        "max_model_len": service.info.max_model_len,
        "tokens": token_ids,
        "token_strs": [texts.of(i).text for i in token_ids] if body.return_token_strs else None,
    }
    return Response(encode_json(answer), media_type="application/json")


async def detokenize(service: ApiService, http: Request) -> Response:
    body = await read_request(http, DetokenizeRequest, service.limits.max_body_bytes)
    service.info.resolve_model(body.model)
    check_token_ids(body.tokens, service.info.vocab_size, "tokens")
    text = await service.tokenizer.decode(body.tokens)
    return Response(encode_json({"prompt": text}), media_type="application/json")


async def _encode(service: ApiService, body: TokenizeRequest) -> tuple[int, ...]:
    if (body.prompt is None) == (body.messages is None):
        raise InvalidRequestError("give either prompt or messages", "prompt")
    if body.messages is not None:
        conversation = to_conversation(body.messages)
        options = ChatOptions.of(body, tools=read_tools(body.tools))
        return (await service.tokenizer.encode_chat(conversation, options)).token_ids
    add_special_tokens = body.add_special_tokens is not False
    return await service.tokenizer.encode(body.prompt or "", add_special_tokens, "prompt")
