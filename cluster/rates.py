"""How fast a worker is, measured on its own work: what placement predicts from."""

from dataclasses import dataclass

from legato.engine.batch import StepResult

# Weight of the newest measurement: about the last twenty count.
_ALPHA = 0.1


@dataclass(slots=True)
class Rates:
    """Moving averages; 0 until something was measured."""

    prefill_tokens_per_s: float = 0.0
    step_time_s: float = 0.0  # of steps that only decode
    transfer_bytes_per_s: float = 0.0

    def add_step(self, result: StepResult, duration_s: float) -> None:
        if result.num_prefill_tokens:
            rate = result.num_prefill_tokens / duration_s
            self.prefill_tokens_per_s = _blend(self.prefill_tokens_per_s, rate)
        elif result.num_decode_tokens:
            self.step_time_s = _blend(self.step_time_s, duration_s)

    def add_transfer(self, num_bytes: int, duration_s: float) -> None:
        if num_bytes and duration_s > 0:
            self.transfer_bytes_per_s = _blend(self.transfer_bytes_per_s, num_bytes / duration_s)


def _blend(average: float, value: float) -> float:
    return value if average == 0 else average + _ALPHA * (value - average)
