"""What a client may ask of sampling: validated, frozen, and complete.

Names and meanings are vLLM's. The module knows no vocabulary: token ids are range-checked
where the model is known (`check_vocabulary`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from legato.engine.errors import InvalidRequestError
from legato.engine.structured_output import StructuredOutput

MAX_LOGPROBS = 20
MAX_STOP_STRINGS = 16
MAX_LOGIT_BIAS = 1024
MAX_STOP_TOKEN_IDS = 128
MAX_ALLOWED_TOKEN_IDS = 1 << 15
MAX_BAD_WORDS = 64
MAX_BAD_SEQUENCES = 2 * MAX_BAD_WORDS  # each word is written with and without a space before it


class Pooling(StrEnum):
    """How a prompt becomes one vector; the names are vLLM's."""

    LAST = "last"
    MEAN = "mean"


def _check(condition: bool, message: str, param: str) -> None:
    if not condition:
        raise InvalidRequestError(message, param)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How one sequence is sampled.

    Raises:
        InvalidRequestError: a value is out of range; `param` names the field.
    """

    n: int = 1
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0
    top_k: int = 0  # 0 and -1: the whole vocabulary
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    max_tokens: int | None = 16  # None: up to the model's context
    min_tokens: int = 0
    logprobs: int | None = None  # top-n beside the chosen token's; 0: the chosen token's alone
    prompt_logprobs: int | None = None  # as logprobs, for each token of the prompt but the first
    allowed_token_ids: tuple[int, ...] | None = None  # None: all
    bad_words: tuple[str, ...] = ()  # no meaning to the engine, as `stop`; see bad_words.py
    bad_words_token_ids: tuple[tuple[int, ...], ...] = ()  # no answer has one of these in it
    pooling: Pooling | None = None  # the prompt's vector is wanted, with the first token
    skip_special_tokens: bool = True
    structured_output: StructuredOutput | None = None

    def __post_init__(self) -> None:
        for name in ("stop", "stop_token_ids", "bad_words"):
            value: str | Sequence[object] | None = getattr(self, name)
            as_tuple = () if value is None else (value,) if isinstance(value, str) else tuple(value)
            object.__setattr__(self, name, as_tuple)
        if self.allowed_token_ids is not None:
            object.__setattr__(self, "allowed_token_ids", tuple(self.allowed_token_ids))
        self._check_ranges()
        self._check_lists()

    def _check_lists(self) -> None:
        _check(
            len(self.stop) <= MAX_STOP_STRINGS, f"at most {MAX_STOP_STRINGS} stop strings", "stop"
        )
        _check(all(self.stop), "a stop string must not be empty", "stop")
        _check(
            len(self.stop_token_ids) <= MAX_STOP_TOKEN_IDS,
            f"at most {MAX_STOP_TOKEN_IDS} stop token ids",
            "stop_token_ids",
        )
        _check(
            len(self.logit_bias) <= MAX_LOGIT_BIAS,
            f"at most {MAX_LOGIT_BIAS} entries",
            "logit_bias",
        )
        _check(
            all(-100 <= bias <= 100 for bias in self.logit_bias.values()),
            "each bias must be between -100 and 100",
            "logit_bias",
        )
        _check(all(self.bad_words), "a bad word must not be empty", "bad_words")
        _check(
            len(self.bad_words) <= MAX_BAD_WORDS
            and len(self.bad_words_token_ids) <= MAX_BAD_SEQUENCES,
            f"at most {MAX_BAD_WORDS} bad words",
            "bad_words",
        )
        if self.allowed_token_ids is not None:
            self._check_allowed(self.allowed_token_ids)

    def _check_allowed(self, token_ids: tuple[int, ...]) -> None:
        name = "allowed_token_ids"
        _check(len(token_ids) > 0, "must not be empty", name)
        _check(
            len(token_ids) <= MAX_ALLOWED_TOKEN_IDS, f"at most {MAX_ALLOWED_TOKEN_IDS} ids", name
        )
        _check(self.structured_output is None, "cannot be combined with structured output", name)

    def _check_ranges(self) -> None:
        limits: dict[str, tuple[float, float]] = {
            "n": (1, 128),
            "temperature": (0, 100),
            "min_p": (0, 1),
            "presence_penalty": (-2, 2),
            "frequency_penalty": (-2, 2),
            "min_tokens": (0, 1 << 31),
            "top_k": (-1, 1 << 31),
        }
        for name, (low, high) in limits.items():
            _check(low <= getattr(self, name) <= high, f"must be between {low} and {high}", name)
        _check(0 < self.top_p <= 1, "must be above 0 and at most 1", "top_p")
        _check(0 < self.repetition_penalty <= 100, "must be above 0", "repetition_penalty")
        if self.seed is not None:
            _check(-(1 << 63) <= self.seed < 1 << 63, "must fit 64 bits", "seed")
        if self.max_tokens is not None:
            _check(self.max_tokens >= 1, "must be at least 1", "max_tokens")
            _check(self.min_tokens <= self.max_tokens, "must not exceed max_tokens", "min_tokens")
        for name in ("logprobs", "prompt_logprobs"):
            number = getattr(self, name)
            if number is not None:
                _check(0 <= number <= MAX_LOGPROBS, f"must be 0 to {MAX_LOGPROBS}", name)

    @property
    def has_penalties(self) -> bool:
        return (
            self.presence_penalty != 0
            or self.frequency_penalty != 0
            or self.repetition_penalty != 1
        )

    def check_vocabulary(self, vocab_size: int) -> None:
        """Refuses token ids that the model does not have.

        Raises:
            InvalidRequestError: an id is outside 0..vocab_size-1.
        """
        bad_words = [token_id for word in self.bad_words_token_ids for token_id in word]
        for name, ids in (
            ("logit_bias", self.logit_bias),
            ("stop_token_ids", self.stop_token_ids),
            ("allowed_token_ids", self.allowed_token_ids or ()),
            ("bad_words", bad_words),
        ):
            for token_id in ids:
                _check(
                    0 <= token_id < vocab_size,
                    f"token id {token_id} is outside the vocabulary of {vocab_size}",
                    name,
                )
