"""The name of one HTTP request, by which a client's log and the server's find each other.

    client --x-request-id, if it has one--> ErrorBoundary --x-request-id--> client
                                                └ the log lines of what went wrong

It is the client's own name if that is safe to write into a log and a header, else a new one. It is
no id of the cluster's: sequences are named behind the HTTP surface.
"""

import re
import uuid

from starlette.types import Scope

HEADER = b"x-request-id"
_SAFE = re.compile(rb"[\w.:/+=-]{1,128}", re.ASCII)
_KEY = "legato.request_id"


def name_request(scope: Scope) -> str:
    """Gives the request a name, which `request_id` then tells."""
    given = next((value for name, value in scope["headers"] if name == HEADER), b"")
    name = given.decode() if _SAFE.fullmatch(given) else f"req_{uuid.uuid4().hex}"
    scope[_KEY] = name
    return name


def request_id(scope: Scope) -> str:
    """The name that a request was given; "-" before it has one."""
    name: str = scope.get(_KEY, "-")
    return name
