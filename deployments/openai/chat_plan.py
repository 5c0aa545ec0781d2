"""What a chat's request and the model's dialect make of each other, before anything is rendered.

    tools, tool_choice ──┐                   ┌─> what the template shows, and what stands behind it
    response_format ... ─┼─> ChatPlan.of ────┼─> what the answer is held to
    Dialect ─────────────┘                   └─> how the answer is read

An answer that is held to a form is so from its first token: where the template opens a thought, it
is closed at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from legato.deployments.openai.call_grammar import CallGrammar
from legato.deployments.openai.constraint import Constraint, read_constraint
from legato.deployments.openai.message.dialect import Dialect
from legato.deployments.openai.message.message_parser import CallReading, MessageReading
from legato.deployments.openai.message.tool_syntax import FORCED, ToolSyntax
from legato.deployments.openai.schema import ChatRequest
from legato.deployments.openai.tokenizer import ChatOptions
from legato.deployments.openai.tool_use import ToolChoice, ToolUse, read_tool_use
from legato.engine.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """One request's way through the model's dialect."""

    rendering: ChatOptions
    constraint: Constraint | None
    calls: CallReading | None
    dialect: Dialect
    shows_reasoning: bool
    streams: bool

    @classmethod
    def of(
        cls, request: ChatRequest, dialect: Dialect, added_tokens: Mapping[str, int]
    ) -> "ChatPlan":
        """Plans a request to a model with this dialect and these tokens beside its plain ones.

        Raises:
            InvalidRequestError: the fields or the model do not allow it.
        """
        use = read_tool_use(request.tools, request.tool_choice)
        calls = _call_reading(request, use, dialect)
        constraint = read_constraint(request)
        if use is not None and calls is not None and (use.is_forced or constraint is not None):
            grammar = CallGrammar(calls.syntax, added_tokens, calls.is_parallel)
            held_to_calls = grammar.constraint(use.tools)
            if constraint is None or use.is_forced:
                constraint = held_to_calls
            else:
                constraint = Constraint.any_of(constraint, held_to_calls)
        syntax = dialect.tool_syntax
        return cls(
            rendering=ChatOptions.of(
                request,
                tools=use.tools if use else (),
                documents=tuple(request.documents or ()),
                think_tags=dialect.think_tags,
                prime=syntax.prime if syntax and use and use.is_forced else "",
                closes_thought=constraint is not None,
            ),
            constraint=constraint,
            calls=calls,
            dialect=dialect,
            shows_reasoning=request.include_reasoning,
            streams=bool(request.stream),
        )

    def markers(self) -> tuple[str, ...]:
        """The texts without which the answer could not be read."""
        tags = self.dialect.think_tags
        syntax = self.calls.syntax if self.calls else None
        return (*((tags.start, tags.end) if tags else ()), *(syntax.markers if syntax else ()))

    def reading(self, starts_thinking: bool) -> MessageReading | None:
        """How the answers are read; None: they are what they are."""
        if self.calls is None and self.dialect.think_tags is None:
            return None
        return MessageReading(
            self.dialect.think_tags,
            starts_thinking,
            self.shows_reasoning,
            self.calls,
            self.streams,
        )


def _call_reading(
    request: ChatRequest, use: ToolUse | None, dialect: Dialect
) -> CallReading | None:
    if use is None:
        return None
    known = dialect.tool_syntax
    if not use.is_forced and (known is None or not dialect.may_choose):
        raise InvalidRequestError(_why_not(known), "tools")
    syntax = known or FORCED
    is_named = use.choice is ToolChoice.NAMED
    return CallReading(
        syntax.when_forced if use.is_forced else syntax,
        use.names,
        request.parallel_tool_calls is not False and not is_named,
        syntax.has_short_ids,
        is_named,
    )


def _why_not(syntax: ToolSyntax | None) -> str:
    if syntax is None:
        return (
            "the chat template shows no syntax of tool calls that is known here; the server's "
            "flag --tool-call-parser names one"
        )
    return "the server runs with --no-enable-auto-tool-choice: only tool_choice 'required' works"
