"""What a client may ask of sampling: validated, frozen, and complete.

Names and meanings are vLLM's. The module knows no vocabulary: token ids are range-checked
where the model is known (`check_vocabulary`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from legato.engine.errors import InvalidRequestError
from legato.engine.structured_output import StructuredOutput

MAX_LOGPROBS = 20
MAX_STOP_STRINGS = 16
MAX_LOGIT_BIAS = 1024
MAX_STOP_TOKEN_IDS = 128


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
    skip_special_tokens: bool = True
    structured_output: StructuredOutput | None = None

    def __post_init__(self) -> None:
        for name in ("stop", "stop_token_ids"):
            value: str | Sequence[object] | None = getattr(self, name)
            as_tuple = () if value is None else (value,) if isinstance(value, str) else tuple(value)
            object.__setattr__(self, name, as_tuple)
        self._check_ranges()
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
        if self.logprobs is not None:
            _check(0 <= self.logprobs <= MAX_LOGPROBS, f"must be 0 to {MAX_LOGPROBS}", "logprobs")

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
        for name, ids in (("logit_bias", self.logit_bias), ("stop_token_ids", self.stop_token_ids)):
            for token_id in ids:
                _check(
                    0 <= token_id < vocab_size,
                    f"token id {token_id} is outside the vocabulary of {vocab_size}",
                    name,
                )
