"""Compiles what StructuredOutput asks for against a model's vocabulary, within limits.

    StructuredOutput --spec, as llguidance takes it--> checked, compiled once --copy--> matcher
                                                        `- the latest ones are kept

A router checks specs with it before anybody works on them (`compile_check`), an engine takes its
matchers from it. Both may call it from any thread: a compilation takes a millisecond as a rule and
some hundred for specs that are refused for it, and does not hold the interpreter's lock meanwhile.
It knows no scheduler, and no torch.
"""

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer

from legato.engine.errors import InvalidRequestError
from legato.engine.grammar_specs import one_line, to_grammar
from legato.engine.grammar_state import GrammarState
from legato.engine.structured_output import StructuredOutput
from legato.engine.tokenizer import Tokenizer

MAX_COMPILE_S = 0.25  # of one processor's time
NUM_KEPT = 64  # compiled grammars, the latest ones
MAX_KEPT_BYTES = 1 << 17  # of their specs: a compiled one takes some hundred times as much
_LIMITS = LLParserLimits(
    initial_lexer_fuel=500_000,  # 10 ms
    max_grammar_size=100_000,
    max_lexer_states=16_000,  # 32 MB
    verbose_errors=False,  # they would quote the answer so far
)


def load_vocabulary(
    tokenizer: Tokenizer, vocab_size: int = 0, eos_token_ids: Sequence[int] = ()
) -> LLTokenizer:
    """The vocabulary as llguidance sees it; takes a second for a large one.

    Args:
        vocab_size: of the model, if it has more tokens than the tokenizer
        eos_token_ids: what may end an answer; none: what the tokenizer says
    """
    size = max(vocab_size, tokenizer.backend.get_vocab_size(with_added_tokens=True))
    eos = [token_id for token_id in eos_token_ids if token_id < size]
    return from_tokenizer(tokenizer.hf, n_vocab=size, eos_token=eos or None)


class GrammarCompiler:
    """Matchers for one vocabulary, which is loaded when it is asked for, once."""

    def __init__(self, load: Callable[[], LLTokenizer]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._vocabulary: LLTokenizer | None = None
        self._compiled: OrderedDict[StructuredOutput, Future[LLMatcher]] = OrderedDict()
        self._num_kept_bytes = 0

    @classmethod
    def for_model(
        cls, tokenizer_name: str, vocab_size: int, eos_token_ids: Sequence[int]
    ) -> "GrammarCompiler":
        """With the tokenizer of a directory or hub id; see `load_vocabulary`."""
        return cls(
            lambda: load_vocabulary(Tokenizer.load(tokenizer_name), vocab_size, eos_token_ids)
        )

    @property
    def vocabulary(self) -> LLTokenizer:
        with self._lock:
            if self._vocabulary is None:
                self._vocabulary = self._load()
            return self._vocabulary

    @property
    def is_loaded(self) -> bool:
        return self._vocabulary is not None

    def load(self) -> None:
        """Loads the vocabulary, so that the first request need not wait for it.

        It is a second's work that holds the interpreter's lock: to be done on a thread, while a
        process starts. If it fails, whoever needs the vocabulary is told.
        """
        with contextlib.suppress(Exception):
            self.vocabulary  # noqa: B018

    def compile_check(self, structured: StructuredOutput, param: str) -> None:
        """Compiles a spec, so that it is there when it is needed.

        Raises:
            InvalidRequestError: the spec is malformed, not supported, or too large; `param` names
                the client's field.
        """
        try:
            self._root(structured)
        except ValueError as error:
            raise InvalidRequestError(str(error), param) from None

    def start(
        self, structured: StructuredOutput, output_token_ids: Sequence[int] = ()
    ) -> GrammarState:
        """A sequence's state behind the output that it has already.

        Raises:
            InvalidRequestError: as `compile_check`.
        """
        self.compile_check(structured, "structured_output")
        matcher = self._root(structured).deep_copy()
        return GrammarState(matcher, self.vocabulary, output_token_ids)

    def _root(self, structured: StructuredOutput) -> LLMatcher:
        """Whoever asks first compiles; who asks meanwhile waits for the outcome."""
        with self._lock:
            future = self._compiled.get(structured)
            is_first = future is None
            if future is None:
                future = self._compiled[structured] = Future()
                self._num_kept_bytes += len(structured.spec)
                self._forget_oldest()
            self._compiled.move_to_end(structured)
        if is_first:
            try:
                future.set_result(_compile(structured, self.vocabulary))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def _forget_oldest(self) -> None:
        """Leaves the newest one at least."""
        while len(self._compiled) > NUM_KEPT or (
            self._num_kept_bytes > MAX_KEPT_BYTES and len(self._compiled) > 1
        ):
            structured, _ = self._compiled.popitem(last=False)
            self._num_kept_bytes -= len(structured.spec)


def _compile(structured: StructuredOutput, vocabulary: LLTokenizer) -> LLMatcher:
    """Raises: ValueError if there is anything wrong with the spec."""
    kind = structured.kind.value
    grammar = to_grammar(structured)
    started_s = time.thread_time()
    matcher = LLMatcher(vocabulary, grammar, log_level=0, limits=_LIMITS)
    if matcher.is_error():
        raise ValueError(f"the {kind} cannot be used: {one_line(matcher.get_error())}")
    matcher.compute_bitmask()  # some limits are met here; and copies need not compute it again
    if matcher.is_error():
        raise ValueError(f"the {kind} is too complex, or nothing matches it")
    if time.thread_time() - started_s > MAX_COMPILE_S:
        raise ValueError(f"the {kind} takes too long to compile")
    return matcher
