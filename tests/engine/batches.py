"""Hand-made batches for a real ModelRunner, without a scheduler."""

from pathlib import Path
from typing import Any

import torch

from legato.engine.batch import SamplingInput, ScheduledBatch, ScheduledSequence
from legato.engine.config import EngineConfig
from legato.engine.kv_cache import allocate_pool
from legato.engine.model_runner import ModelRunner
from legato.engine.sampling_params import SamplingParams


def build_runner(directory: Path, num_blocks: int = 64, **options: Any) -> ModelRunner:
    """A float32 runner on the CPU with a pool full of NaN: what is not written must not be read."""
    runner = ModelRunner.build(
        EngineConfig.from_options({"model": str(directory), "device": "cpu", **options})
    )
    pool = allocate_pool(runner.kv_spec, num_blocks)
    runner.attach_pool(pool.fill_(float("nan")))
    return runner


def sampling_input(
    params: SamplingParams | None = None,
    *,
    seed: int = 0,
    position: int = 0,
    prompt: tuple[int, ...] = (),
    output: tuple[int, ...] = (),
    banned: tuple[int, ...] = (),
) -> SamplingInput:
    params = params or SamplingParams(temperature=0)
    return SamplingInput(params, seed, position, prompt, output, banned)


def scheduled(seq_id: int, block_table: tuple[int, ...]) -> ScheduledSequence:
    """A sequence that computes its first token, for tests to which only its blocks matter."""
    return ScheduledSequence(
        seq_id=seq_id, token_ids=(1,), start=0, block_table=block_table, sampling=None
    )


def part(
    tokens: list[int],
    start: int,
    stop: int,
    block_table: list[int],
    sampling: SamplingInput | None = None,
) -> ScheduledSequence:
    """The step that computes `tokens[start:stop]` and samples greedily at its end."""
    return ScheduledSequence(
        seq_id=block_table[-1],
        token_ids=tuple(tokens[start:stop]),
        start=start,
        block_table=tuple(block_table),
        sampling=sampling or sampling_input(),
    )


def logits(runner: ModelRunner, *parts: ScheduledSequence) -> torch.Tensor:
    return runner.logits(ScheduledBatch(parts))


def random_tokens(count: int, seed: int = 0, vocab_size: int = 97) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    tokens: list[int] = torch.randint(0, vocab_size, (count,), generator=generator).tolist()
    return tokens
