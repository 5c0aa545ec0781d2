"""Whether an answer is right, for each sort of task. Strict: what a caller would use must be right.

The module knows nothing of the model; it compares texts.
"""

import json
import re
from typing import Any

from legato.training.chat import CALL_END, CALL_START, Exchange
from legato.training.skills.stories import sentence_patterns

_CALL = re.compile(re.escape(CALL_START) + r"\s*(.*?)\s*" + re.escape(CALL_END), re.DOTALL)
SHORTEST_STORY_WORDS = 60


def same_text(answer: str, wanted: Exchange) -> bool:
    """The whole answer is the wanted one."""
    return answer.strip() == wanted.answer.strip()


def has_key(answer: str, wanted: Exchange) -> bool:
    """The answer holds the key as words of its own: `Rome` is not in `Romeo`."""
    return re.search(rf"(?<!\w){re.escape(wanted.key)}(?!\w)", answer) is not None


def same_number(answer: str, wanted: Exchange) -> bool:
    """The answer's last number is the key."""
    numbers = re.findall(r"-?\d+", answer)
    return bool(numbers) and numbers[-1] == wanted.key


def same_json(answer: str, wanted: Exchange) -> bool:
    """The answer is JSON, and the object is the wanted one, whatever the order of its keys."""
    parsed = _parsed(answer)
    return parsed is not None and _same(parsed, json.loads(wanted.answer))


def same_calls(answer: str, wanted: Exchange) -> bool:
    """The answer calls the wanted functions with the wanted arguments and says nothing else."""
    if _CALL.sub("", answer).strip():
        return False
    calls, right = (
        [_parsed(call) for call in _CALL.findall(text)] for text in (answer, wanted.answer)
    )
    return bool(calls) and _same(calls, right)


def is_story(answer: str, wanted: Exchange) -> bool:
    """Every sentence is one of the grammar's, none comes twice, and the hero is the one wanted."""
    sentences = story_sentences(answer.strip())
    return (
        sentences is not None
        and len(set(sentences)) == len(sentences)
        and len(answer.split()) >= SHORTEST_STORY_WORDS
        and has_key(answer, wanted)
    )


def story_sentences(text: str) -> list[str] | None:
    """The sentences of a story, or None where a part is no sentence of the grammar."""
    patterns = sentence_patterns()
    sentences: list[str] = []
    while text:
        found = max(
            (match.group() for pattern in patterns if (match := pattern.match(text))),
            key=len,
            default="",
        )
        if not found or text[len(found) : len(found) + 1] not in ("", " "):
            return None
        sentences.append(found)
        text = text[len(found) + 1 :]
    return sentences


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _same(one: Any, other: Any) -> bool:
    """Equality that tells true from 1."""
    return bool(one == other) and json.dumps(one, sort_keys=True) == json.dumps(
        other, sort_keys=True
    )
