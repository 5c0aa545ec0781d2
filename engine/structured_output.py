"""What a client may ask of an answer's form: valid JSON, a regex, a choice, a grammar.

    StructuredOutput ----> GrammarCompiler ----> GrammarState ----> token mask ----> sampler
    kind and spec          checks, compiles      of one sequence    of one step

The value travels with the sampling parameters, as text, and nothing else does: wherever a sequence
goes on, its grammar is compiled and its output tokens are read again. What a spec means is known
to legato.engine.grammar_compiler, whose `compile_check` refuses what cannot be served.
"""

from dataclasses import dataclass
from enum import StrEnum

from legato.engine.errors import InvalidRequestError


class StructuredOutputKind(StrEnum):
    """Which language a spec is written in."""

    JSON_SCHEMA = "json_schema"  # the schema, as JSON text
    JSON_OBJECT = "json_object"  # empty: any JSON object
    REGEX = "regex"  # which the whole answer matches; the syntax is Rust's, without look-around
    CHOICE = "choice"  # a JSON list of strings: the answer is one of them
    GRAMMAR = "grammar"  # Lark as llguidance takes it, or GBNF
    CALLS = "calls"  # Lark that may name special tokens; what a router writes, never a client
    ANY_OF = "any_of"  # a JSON list of [kind, spec]: the answer has one of these forms


@dataclass(frozen=True, slots=True)
class StructuredOutput:
    """The form of an answer.

    Raises:
        InvalidRequestError: there is no such kind. The spec is not looked at here.
    """

    kind: StructuredOutputKind
    spec: str = ""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "kind", StructuredOutputKind(self.kind))
        except ValueError:
            kinds = ", ".join(StructuredOutputKind)
            raise InvalidRequestError(f"must be one of {kinds}", "structured_output") from None
