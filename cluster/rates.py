"""How fast a worker is, measured on its own work: what placement predicts from."""

from dataclasses import dataclass

from legato.engine.batch import StepResult

# How much of what was measured before still counts after one more: about the last twenty do.
_MEMORY = 0.95


@dataclass(slots=True)
class _Rate:
    """Amount by time, both with older measurements fading: large ones count for more."""

    amount: float = 0.0
    seconds: float = 0.0

    def add(self, amount: float, seconds: float) -> None:
        self.amount = _MEMORY * self.amount + amount
        self.seconds = _MEMORY * self.seconds + seconds

    @property
    def per_s(self) -> float:
        return self.amount / self.seconds if self.seconds > 0 else 0.0


class Rates:
    """Moving averages; 0 until something was measured, but for transfers.

    Args:
        nominal_transfer_bytes_per_s: what transfers are taken for until one was measured
    """

    def __init__(self, nominal_transfer_bytes_per_s: float) -> None:
        self._nominal_transfer_bytes_per_s = nominal_transfer_bytes_per_s
        self._prefill = _Rate()  # tokens
        self._steps = _Rate()  # that only decode
        self._transfers = _Rate()  # bytes
        self._first_tokens = _Rate()

    @property
    def prefill_tokens_per_s(self) -> float:
        return self._prefill.per_s

    @property
    def step_time_s(self) -> float:
        return 1 / self._steps.per_s if self._steps.amount else 0.0

    @property
    def transfer_bytes_per_s(self) -> float:
        return self._transfers.per_s or self._nominal_transfer_bytes_per_s

    @property
    def ttft_s(self) -> float:
        return 1 / self._first_tokens.per_s if self._first_tokens.seconds else 0.0

    def add_step(self, result: StepResult, duration_s: float) -> None:
        """Takes one engine step in."""
        if result.num_prefill_tokens:
            self._prefill.add(result.num_prefill_tokens, duration_s)
        elif result.num_decode_tokens:
            self._steps.add(1, duration_s)

    def add_transfer(self, num_bytes: int, duration_s: float) -> None:
        """Takes one push of KV blocks in."""
        self._transfers.add(num_bytes, duration_s)

    def add_first_token(self, ttft_s: float) -> None:
        """Takes in how long a sequence was here before its first token."""
        self._first_tokens.add(1, ttft_s)
