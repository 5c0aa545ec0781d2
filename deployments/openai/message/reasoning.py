"""What a model thinks aloud before it answers, apart from the answer.

    START ── a start tag ──> INSIDE ── the end tag ──> DONE: all that follows is the answer
      `───── anything else ─────────────────────────────^

A template may open the tag itself; the model then begins INSIDE. A tag later in the answer is text.
"""

from dataclasses import dataclass
from enum import Enum

from legato.deployments.openai.message.markers import TextRun, split_at_marker


@dataclass(frozen=True, slots=True)
class ThinkTags:
    start: str
    end: str


_THINK = ThinkTags("<think>", "</think>")
_MISTRAL = ThinkTags("[THINK]", "[/THINK]")
_SEED = ThinkTags("<seed:think>", "</seed:think>")

# By the names that vLLM's flag --reasoning-parser has for them.
THINK_TAGS = {
    "deepseek_r1": _THINK,
    "glm45": _THINK,
    "mistral": _MISTRAL,
    "qwen3": _THINK,
    "seed_oss": _SEED,
}


def tags_of_template(template: str) -> ThinkTags | None:
    """The tags that a chat template knows of; None if it knows none."""
    return next((tags for tags in (_SEED, _MISTRAL, _THINK) if tags.end in template), None)


class _State(Enum):
    START = "start"
    INSIDE = "inside"
    DONE = "done"


class ReasoningSplitter:
    """Follows one message.

    Args:
        is_opened: the prompt ends with the start tag. A model that repeats it is forgiven.
    """

    def __init__(self, tags: ThinkTags, is_opened: bool) -> None:
        self._tags = tags
        self._is_opened = is_opened
        self._state = _State.START
        self._held = ""
        self._reasoning = TextRun(trims_start=True)
        self._answer: TextRun | None = None  # while white space before it is to be dropped

    @property
    def is_inside(self) -> bool:
        return self._state is _State.INSIDE

    def feed(self, text: str) -> tuple[str, str]:
        """Takes more text; gives what it adds to the reasoning, and to the answer."""
        if self._state is _State.DONE:
            return "", self._trimmed(text)
        text, self._held = self._held + text, ""
        if self._state is _State.START:
            begun = text.lstrip()
            if self._tags.start.startswith(begun) and begun != self._tags.start:
                self._held = text
                return "", ""
            if not (self._is_opened or begun.startswith(self._tags.start)):
                self._state = _State.DONE
                return "", text
            self._state = _State.INSIDE
            text = begun.removeprefix(self._tags.start)
        thought, end, rest = split_at_marker(text, (self._tags.end,))
        reasoning = self._reasoning.push(thought)
        if end is None:
            self._held = rest
            return reasoning, ""
        self._state = _State.DONE
        self._answer = TextRun(trims_start=True)
        return reasoning, self._trimmed(rest)

    def finish(self) -> tuple[str, str]:
        """No more text comes; white space at the end of the reasoning is dropped."""
        held, self._held = self._held, ""
        if self._state is _State.INSIDE or (self._state is _State.START and self._is_opened):
            return self._reasoning.push(held), ""
        return "", held

    def _trimmed(self, text: str) -> str:
        if self._answer is None:
            return text
        begun = self._answer.push(text)
        if not begun:
            return ""
        begun += self._answer.rest()
        self._answer = None
        return begun
