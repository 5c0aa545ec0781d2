"""A step that has been launched: its samples, when the device has them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from legato.engine.batch import RunResult, SampledToken, TokenLogprobs


@dataclass(frozen=True, slots=True, eq=False)
class PendingLogprobs:
    """Log probabilities on the host, or on their way there; see kernels' `token_logprobs`.

    Attributes:
        num_top: for each sampling sequence of the batch, how many are wanted; None: not even its
            own
    """

    tensors: tuple[torch.Tensor, ...]
    num_top: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PendingStep:
    """Samples on the host, or on their way there.

    Attributes:
        token_ids: [samples or more]
        order: for each sampling sequence of the batch, its place in `token_ids`
        is_done: recorded behind the copies to the host; None: they are there
    """

    token_ids: torch.Tensor
    order: NDArray[np.int64]
    logprobs: PendingLogprobs | None
    is_done: torch.cuda.Event | None

    def wait(self) -> RunResult:
        """Blocks until the device has finished the step."""
        if self.is_done is not None:
            self.is_done.synchronize()
        token_ids = self.token_ids.numpy()[self.order].tolist()
        if self.logprobs is None:
            return RunResult(tuple([SampledToken(token_id, None) for token_id in token_ids]))
        logprobs = self._logprobs(token_ids, self.logprobs)
        return RunResult(tuple(map(SampledToken, token_ids, logprobs)))

    def _logprobs(
        self, token_ids: list[int], pending: PendingLogprobs
    ) -> list[TokenLogprobs | None]:
        chosen, ranks, top_ids, top_values = (
            tensor.numpy()[self.order].tolist() for tensor in pending.tensors
        )
        results: list[TokenLogprobs | None] = []
        for index, num_top in enumerate(pending.num_top):
            if num_top is None:
                results.append(None)
                continue
            top = tuple(zip(top_ids[index][:num_top], top_values[index][:num_top], strict=True))
            results.append(TokenLogprobs(token_ids[index], chosen[index], ranks[index], top))
        return results


class SampleCopies:
    """Takes samples to the host through memory that was pinned once.

    A place is used again when `num_places` more steps have been launched: by then its samples have
    been waited for.
    """

    def __init__(self, max_samples: int, num_places: int, device: torch.device) -> None:
        self._places = [
            (torch.empty(max_samples, dtype=torch.int64, pin_memory=True), torch.cuda.Event())
            for _ in range(num_places if device.type == "cuda" else 0)
        ]
        self._next_place = 0

    def start(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
        """The copy, and the event behind it; without a GPU, the copy is done.

        With no samples either, the event tells when the device has finished the step.
        """
        if not self._places:
            return token_ids.clone(), None
        place, is_done = self._places[self._next_place]
        self._next_place = (self._next_place + 1) % len(self._places)
        copy = place[: token_ids.shape[0]].copy_(token_ids, non_blocking=True)
        is_done.record()
        return copy, is_done
