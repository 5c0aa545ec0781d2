"""A sequence moves between two engines with real KV: its tokens are those of one engine alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from legato.engine.batch import SequenceOutput, SequenceRequest
from legato.engine.config import EngineConfig
from legato.engine.core import EngineCore
from legato.engine.handover import BlockReservation
from legato.engine.kv_cache import allocate_pool
from legato.engine.kv_layout import KVCacheSpec
from legato.engine.sampling_params import SamplingParams
from legato.tests.checkpoints import make_checkpoint

PROMPT = tuple(range(4, 64))
NUM_NEW = 20
PARAMS = {
    "greedy": SamplingParams(temperature=0, max_tokens=NUM_NEW, ignore_eos=True),
    "drawn": SamplingParams(
        max_tokens=NUM_NEW, ignore_eos=True, presence_penalty=0.5, repetition_penalty=1.2
    ),
}


class Engine:
    """An engine whose pool the test can reach."""

    def __init__(self, directory: Path, max_num_batched_tokens: int = 1024) -> None:
        options = {
            "model": str(directory),
            "dtype": "float32",
            "max_model_len": 128,
            "num_gpu_blocks_override": 24,
            "max_num_batched_tokens": max_num_batched_tokens,
        }
        self.core = EngineCore.build(EngineConfig.from_options(options), self._allocate)

    def _allocate(self, spec: KVCacheSpec, num_blocks: int, _: torch.device) -> torch.Tensor:
        self.pool = allocate_pool(spec, num_blocks)
        return self.pool

    def run(self) -> list[int]:
        outputs: list[SequenceOutput] = []
        while self.core.has_work():
            outputs += self.core.step().outputs
        return [token_id for output in outputs for token_id in output.token_ids]

    def run_until(self, num_tokens: int) -> tuple[int, ...]:
        """The first `num_tokens` tokens of the only sequence there is."""
        token_ids: tuple[int, ...] = ()
        while len(token_ids) < num_tokens:
            for output in self.core.step().outputs:
                token_ids += output.token_ids
        return token_ids


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture
def source(directory: Path) -> Engine:
    return Engine(directory)


@pytest.fixture
def target(directory: Path) -> Engine:
    return Engine(directory)


def reserve(target: Engine, request: SequenceRequest) -> BlockReservation:
    reservation = target.core.reserve(request, num_extra_tokens=4)
    assert reservation is not None
    return reservation


def hand_over(
    source: Engine, target: Engine, request: SequenceRequest, reservation: BlockReservation
) -> None:
    """Moves the source's sequence 0 into the reserved blocks; prefix hits are not copied."""
    paused = source.core.pause(0)
    assert paused is not None
    first = len(reservation.cached_block_ids)
    src_ids = list(paused.block_ids[first:])
    target.pool[list(reservation.fresh_block_ids[: len(src_ids)])] = source.pool[src_ids]
    request = replace(request, output_token_ids=paused.output_token_ids)
    target.core.adopt(request, reservation, paused.num_computed_tokens)
    source.core.release(0)
    source.core.unpin(paused.block_ids)


def all_free(*engines: Engine) -> bool:
    """Whether no block is in use once nothing is under way any more."""
    for engine in engines:
        while engine.core.num_steps_under_way > 0:
            engine.core.step()
    stats = [engine.core.stats() for engine in engines]
    return all(each.num_free_blocks == each.num_total_blocks for each in stats)


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
@pytest.mark.parametrize("num_before", [1, 5])
def test_the_tokens_are_those_of_one_engine_alone(
    directory: Path, source: Engine, target: Engine, params: SamplingParams, num_before: int
) -> None:
    request = SequenceRequest(PROMPT, params, sampling_seed=11)
    alone = Engine(directory)
    alone.core.add(request)
    expected = alone.run()

    reservation = reserve(target, request)
    source.core.add(request)
    before = source.run_until(num_before)
    hand_over(source, target, request, reservation)
    assert [*before, *target.run()] == expected
    assert all_free(source, target)


def test_a_receiver_with_the_prefix_takes_only_the_rest(source: Engine, target: Engine) -> None:
    request = SequenceRequest(PROMPT, PARAMS["greedy"], sampling_seed=0)
    target.core.add(request)
    expected = target.run()

    reservation = reserve(target, request)
    assert reservation.num_cached_tokens == 48
    source.core.add(request)
    before = source.run_until(1)
    hand_over(source, target, request, reservation)
    assert [*before, *target.run()] == expected
    assert all_free(source, target)


def test_blocks_can_leave_while_the_prompt_is_still_being_computed(
    directory: Path, target: Engine
) -> None:
    source = Engine(directory, max_num_batched_tokens=20)
    request = SequenceRequest(PROMPT, PARAMS["greedy"], sampling_seed=0)
    target.core.add(request)
    expected = target.run()

    request = replace(request, salt=b"no prefix hit")
    reservation = reserve(target, request)
    source.core.add(request, leaves=True)
    pinned: list[int] = []
    paused = None
    while paused is None:
        for progress in source.core.step().leaving:
            paused = progress.paused
            for block in progress.blocks:
                target.pool[reservation.block_ids[block.index]] = source.pool[block.block_id]
                pinned.append(block.block_id)
    assert len(pinned) == 3
    target.pool[reservation.block_ids[3]] = source.pool[paused.block_ids[3]]
    target.core.adopt(
        replace(request, output_token_ids=paused.output_token_ids),
        reservation,
        paused.num_computed_tokens,
    )
    source.core.release(0)
    source.core.unpin(paused.block_ids)
    source.core.unpin(pinned)
    assert [*paused.output_token_ids, *target.run()] == expected
    assert all_free(source, target)


def test_a_handover_that_failed_goes_on_at_the_source(source: Engine, target: Engine) -> None:
    request = SequenceRequest(PROMPT, PARAMS["greedy"], sampling_seed=0)
    target.core.add(request)
    expected = target.run()
    source.core.add(request)
    before = source.run_until(2)
    paused = source.core.pause(0)
    assert paused is not None
    source.core.unpin(paused.block_ids)
    source.core.resume(0)
    assert [*before, *source.run()] == expected
    assert all_free(source)


def test_a_receiver_that_refused_the_kv_computes_it_anew(source: Engine, target: Engine) -> None:
    request = SequenceRequest(PROMPT, PARAMS["greedy"], sampling_seed=0)
    reservation = reserve(target, request)
    target.pool[list(reservation.block_ids)] = float("nan")
    source.core.add(request)
    before = source.run_until(3)
    target.core.adopt(replace(request, output_token_ids=before), reservation, 0)
    after = target.run()
    assert [*before, *after] == [*before, *source.run()]
    assert all_free(source, target)
