"""A step that has been launched: its samples, when the device has them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from legato.engine.batch import RunResult, SampledToken, ScoredRows, TokenLogprobs


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
class PendingScores:
    """Log probabilities of prompts' tokens on the host, or on their way there.

    Attributes:
        tensors: as of PendingLogprobs, one sequence's rows behind the other's
        scored: for each sequence, whose tokens they are
    """

    tensors: tuple[torch.Tensor, ...]
    scored: Mapping[int, ScoredRows]

    def results(self) -> dict[int, tuple[TokenLogprobs, ...]]:
        columns = [tensor.tolist() for tensor in self.tensors]
        results, start = {}, 0
        for seq_id, rows in self.scored.items():
            end = start + len(rows.token_ids)
            entries = zip(rows.token_ids, *(column[start:end] for column in columns), strict=True)
            results[seq_id] = tuple(
                TokenLogprobs(token_id, logprob, rank, _top(ids, values, rows.num_top))
                for token_id, logprob, rank, ids, values in entries
            )
            start = end
        return results


@dataclass(frozen=True, slots=True, eq=False)
class PendingPools:
    """Sums of hidden states on the host, or on their way there.

    Attributes:
        sums: [sequences, hidden] float32
        seq_ids: whose they are
    """

    sums: torch.Tensor
    seq_ids: tuple[int, ...]

    def results(self) -> dict[int, bytes]:
        rows = self.sums.numpy().astype("<f4")
        return {seq_id: row.tobytes() for seq_id, row in zip(self.seq_ids, rows, strict=True)}


@dataclass(frozen=True, slots=True, eq=False)
class PendingPrompts:
    """What a step finds out about prompts, for those who ask."""

    scores: PendingScores | None
    pools: PendingPools | None


def _top(ids: list[int], values: list[float], number: int) -> tuple[tuple[int, float], ...]:
    return tuple(zip(ids[:number], values[:number], strict=True))


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
    prompts: PendingPrompts | None = None

    def wait(self) -> RunResult:
        """Blocks until the device has finished the step."""
        if self.is_done is not None:
            self.is_done.synchronize()
        token_ids = self.token_ids.numpy()[self.order].tolist()
        if self.logprobs is None:
            sampled = tuple([SampledToken(token_id, None) for token_id in token_ids])
        else:
            logprobs = self._logprobs(token_ids, self.logprobs)
            sampled = tuple(map(SampledToken, token_ids, logprobs))
        if self.prompts is None:
            return RunResult(sampled)
        scores, pools = self.prompts.scores, self.prompts.pools
        return RunResult(
            sampled,
            None if scores is None else scores.results(),
            None if pools is None else pools.results(),
        )

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
            top = _top(top_ids[index], top_values[index], num_top)
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


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the host; from a GPU, one that is under way."""
    if tensor.device.type == "cpu":
        return tensor.clone()
    target = torch.empty_like(tensor, device="cpu", pin_memory=True)
    return target.copy_(tensor, non_blocking=True)
