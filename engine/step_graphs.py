"""Steps as CUDA graphs: captured once for each size, replayed with whatever the tensors hold.

A step costs the host two launches instead of some hundred. Steps that are too large for a graph
run as they are: their kernels take longer than their launches.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from legato.engine.graph_buckets import (
    decode_sizes,
    large_sizes,
    prefill_sizes,
    smallest_at_least,
)
from legato.engine.load_progress import LoadProgress, OnProgress
from legato.engine.step_halves import BodySize, StepHalves
from legato.engine.step_state import StepLimits, StepShape


class StepGraphs:
    """Runs the halves of steps, from graphs where there are some.

    Not captured (on a CPU, or before `capture`), everything runs at its exact size.
    """

    def __init__(self, halves: StepHalves, limits: StepLimits) -> None:
        self._halves = halves
        self._decode_sizes = decode_sizes(limits.max_num_seqs)
        self._prefill_sizes = prefill_sizes(limits.max_num_batched_tokens)
        self._large_sizes = large_sizes(limits.max_num_batched_tokens)
        self._max_num_seqs = limits.max_num_seqs
        self._bodies: dict[BodySize, torch.cuda.CUDAGraph] = {}
        self._tails: dict[int, torch.cuda.CUDAGraph] = {}
        self._uses_prepared_sizes = False

    def body(self, shape: StepShape, kv_pool: torch.Tensor) -> None:
        """Runs the first half of a step."""
        size = self._body_size(shape)
        graph = self._bodies.get(size)
        if graph is None:
            self._halves.body(size, kv_pool)
        else:
            graph.replay()

    def body_with_hidden(self, shape: StepShape, kv_pool: torch.Tensor) -> torch.Tensor:
        """As `body`, but returns all hidden states, [tokens or more, hidden]: graphs keep few."""
        return self._halves.body_with_hidden(self._body_size(shape), kv_pool)

    def tail(self, num_samples: int) -> None:
        """Runs the second half of a step."""
        size = smallest_at_least(self._decode_sizes, num_samples)
        if size in self._tails:
            self._tails[size].replay()
        else:
            self._halves.tail(num_samples)

    def tail_with_logits(self, num_samples: int) -> torch.Tensor:
        """As `tail`, but returns the logits, [num_samples, vocab]: graphs do not keep theirs."""
        return self._halves.tail(num_samples)

    def warm_up(self, kv_pool: torch.Tensor, on_progress: OnProgress) -> None:
        """Runs every size that will be captured, so that nothing is compiled or loaded later."""
        self._run([call for _, _, call in self._calls(kv_pool)], on_progress)

    def warm_up_large(self, kv_pool: torch.Tensor, on_progress: OnProgress) -> None:
        """The same for sizes that run as they are, the largest included."""
        sizes = map(self._prefill_size, self._large_sizes)
        self._run([partial(self._halves.body, size, kv_pool) for size in sizes], on_progress)

    @staticmethod
    def _run(calls: Sequence[Callable[[], object]], on_progress: OnProgress) -> None:
        for done, call in enumerate(calls, start=1):
            call()
            on_progress(LoadProgress("compiling kernels", done, len(calls), "steps"))

    def capture(self, kv_pool: torch.Tensor, on_progress: OnProgress) -> None:
        """Captures all sizes, the largest first: the others find room in its memory.

        Halves that no graph can hold run as they are, at the same sizes: kernels are compiled for
        these.
        """
        self._uses_prepared_sizes = True
        if not self._halves.are_capturable:
            return
        calls = self._calls(kv_pool)
        pool = torch.cuda.graph_pool_handle()
        for done, (graphs, size, call) in enumerate(calls, start=1):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                call()
            graphs[size] = graph
            on_progress(LoadProgress("capturing CUDA graphs", done, len(calls), "graphs"))

    def _calls(
        self, kv_pool: torch.Tensor
    ) -> list[tuple[dict[Any, torch.cuda.CUDAGraph], Any, Callable[[], object]]]:
        """What is captured: where the graph goes, the size that it is for, and the call."""
        prefill = [self._prefill_size(size) for size in reversed(self._prefill_sizes)]
        bodies = [*prefill, *map(BodySize.of_decode, reversed(self._decode_sizes))]
        return [
            *((self._bodies, size, partial(self._halves.body, size, kv_pool)) for size in bodies),
            *(
                (self._tails, num_samples, partial(self._halves.tail, num_samples))
                for num_samples in reversed(self._decode_sizes)
            ),
        ]

    def _prefill_size(self, num_tokens: int) -> BodySize:
        num_sequences = min(num_tokens, self._max_num_seqs)
        return BodySize(num_tokens, num_sequences, num_sequences, False)

    def _body_size(self, shape: StepShape) -> BodySize:
        if shape.is_decode and self._uses_prepared_sizes:
            size = smallest_at_least(self._decode_sizes, shape.num_sequences)
            assert size is not None, "the largest size holds all sequences"
            return BodySize.of_decode(size)
        captured = smallest_at_least(self._prefill_sizes, shape.num_tokens)
        if captured is not None and self._uses_prepared_sizes:
            return self._prefill_size(captured)
        # As many sequences as when it was warmed up: kernels are compiled for that number.
        num_sequences = min(shape.num_tokens, self._max_num_seqs)
        return BodySize(shape.num_tokens, num_sequences, shape.num_samples, shape.is_decode)
