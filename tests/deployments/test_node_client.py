"""The official Node client against a real cluster, after `npm install` in the folder node."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from legato.engine.builtin_model import BUILTIN_MODEL_NAME
from legato.tests.deployments.server import Server

FOLDER = Path(__file__).parent / "node"
NODE = shutil.which("node")


def is_installed() -> bool:
    """Node looks in the folders above, too."""
    look = "await import('openai')"
    command = [NODE or "node", "--input-type=module", "-e", look]
    return (
        NODE is not None and not subprocess.run(command, cwd=FOLDER, capture_output=True).returncode
    )


pytestmark = pytest.mark.skipif(
    not is_installed(), reason="needs node, and `npm install` in tests/deployments/node"
)


@pytest.fixture(scope="module")
def found(server: Server) -> Any:
    """What the client has got, by what it did."""
    command = [NODE or "", "client.mjs", f"{server.url}/v1", BUILTIN_MODEL_NAME]
    ended = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_a_chat_is_answered_streamed_or_not(found: Any) -> None:
    assert found["models"] == [BUILTIN_MODEL_NAME]
    assert found["chat"] and found["streamed"]["text"] == found["chat"]
    assert found["streamed"]["usage"]["completion_tokens"] > 0


def test_the_stream_helper_puts_a_tool_call_together(found: Any) -> None:
    call = {"name": "get_weather", "arguments": {"city": "Paris"}, "reason": "tool_calls"}
    assert found["tool"] == call


def test_the_parse_helper_gets_what_fits_the_schema(found: Any) -> None:
    assert found["structured"].keys() == {"city"}


def test_responses_are_made_streamed_and_retrieved(found: Any) -> None:
    assert found["responses"] == {"whole": found["chat"], "streamed": found["chat"], "stored": True}


def test_embeddings_come_through_its_default_encoding(found: Any) -> None:
    first, second = found["embeddings"]
    assert sum(value * value for value in first) == pytest.approx(1, abs=1e-4)
    assert first == pytest.approx(second, abs=1e-4)


def test_a_stream_that_is_given_up_is_freed(found: Any, server: Server) -> None:
    assert found["abandoned"] == 1
    server.wait_until_idle()


def test_the_name_of_a_request_is_told(found: Any) -> None:
    assert found["requestId"].startswith("req_")
    assert found["unknownModel"]["requestId"].startswith("req_")


def test_errors_are_the_clients_classes(found: Any) -> None:
    unknown, wrong = found["unknownModel"], found["wrongField"]
    assert (unknown["kind"], unknown["code"]) == ("NotFoundError", "model_not_found")
    assert (wrong["kind"], wrong["param"]) == ("BadRequestError", "top_p")
