"""A call as models write it most: one JSON object with a name and arguments."""

import re

import msgspec

# Two names for the same thing.
ARGUMENT_KEYS = ("arguments", "parameters")
_HEAD = re.compile(
    r'\{\s*(?:"(?:type|id)"\s*:\s*"[^"\\]*"\s*,\s*)*'
    r'"name"\s*:\s*(?P<name>"(?:[^"\\]|\\.)+")\s*,\s*'
    rf'"(?:{"|".join(ARGUMENT_KEYS)})"\s*:\s*(?=\{{)'
)


def match_head(text: str) -> tuple[str, int] | None:
    """A call's name, and where its arguments begin, if `text` is a call up to there."""
    head = _HEAD.match(text)
    if head is None:
        return None
    name = decoded(head["name"])
    return (name, head.end()) if isinstance(name, str) else None


def read_call(text: str) -> tuple[str, str] | None:
    """Name and arguments of a whole JSON object; None if it is no call.

    The arguments are written anew: they may have been JSON within JSON, or missing.
    """
    call = decoded(text)
    name = call.get("name") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(name, str) or not name:
        return None
    given = [call[key] for key in ARGUMENT_KEYS if call.get(key) is not None]
    arguments: object = given[0] if given else {}
    if isinstance(arguments, str):
        arguments = decoded(arguments)
    if not isinstance(arguments, dict):
        return None
    return name, msgspec.json.encode(arguments).decode()


def decoded(text: str) -> object:
    """The value of a JSON text, or None if it is no JSON."""
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return value
