"""One engine: sequences in, tokens out. One step, three verbs: schedule, run, update.

    add -> Scheduler -> ScheduledBatch -> Runner -> RunResult -> Scheduler -> StepResult
              |                             |
          BlockPool (numbers)           KV pool (bytes)

The verbs are a pipeline, as deep as the runner allows. With a depth of two the device has its next
step before it has finished the last one, and never waits for the host:

    host    |schedule 2|..wait 1..|update 1|schedule 3|..wait 2..|update 2|schedule 4| ...
    device  ------- step 1 ------>|-------- step 2 ------------->|-------- step 3 ------ ...
                                  `- one call of step() --------'

Step 2 is planned without the tokens that step 1 samples: they go from step to step on the device
(`ScheduledSequence.takes_sampled`), and here they only count. What was planned in vain - the row of
a sequence that ended, left or was paused meanwhile - is dropped when its step is collected. A
sequence whose answer has a form sits out until its token is known: what may follow depends on it.

`LLM` drives it in a loop; a worker's actor drives it from one thread, and moves sequences between
engines with the handover calls. It knows no text, no network and no other engine. Nothing in it
is safe to be called from two threads at a time.
"""

import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import replace

import torch

from legato.engine.batch import RunResult, SequenceRequest, StepResult
from legato.engine.block_manager import BlockManager
from legato.engine.block_pool import BlockPool
from legato.engine.config import EngineConfig, ModelOptions
from legato.engine.errors import EngineError, InvalidRequestError, OverloadedError
from legato.engine.grammar_compiler import GrammarCompiler
from legato.engine.grammar_state import GrammarState
from legato.engine.handover import BlockReservation, PausedSequence
from legato.engine.kv_cache import allocate_pool, pool_memory_bytes
from legato.engine.kv_layout import KVCacheSpec, PoolDemand, num_blocks_for
from legato.engine.leaving import LeavingSequences
from legato.engine.limits import EngineLimits
from legato.engine.load_progress import OnProgress, ignore_progress
from legato.engine.model_runner import ModelRunner
from legato.engine.pipeline import Runner, StepPipeline
from legato.engine.scheduler import Scheduler
from legato.engine.sequence import Sequence, SequenceStatus
from legato.engine.stats import EngineStats
from legato.engine.step_plan import PlannedStep


class EngineCore:
    """The engine of one worker.

    After a failed step the engine is broken for good: `step`, `add`, `reserve` and `adopt` raise
    its EngineError; `abort`, `release`, `unpin` and `give_back` go on working, so that the owner
    can answer every request.
    """

    def __init__(
        self,
        runner: Runner,
        limits: EngineLimits,
        clock: Callable[[], float] = time.monotonic,
        grammars: GrammarCompiler | None = None,
    ) -> None:
        self.limits = limits
        self.grammars = grammars  # None: no structured output
        self.failure: EngineError | None = None
        self._pipeline = StepPipeline(runner)
        self._clock = clock
        self._pool = BlockPool(limits.num_blocks)
        self._blocks = BlockManager(self._pool, limits.block_size, limits.enable_prefix_caching)
        self._scheduler = Scheduler(limits, self._blocks)
        self._leaving = LeavingSequences(self._scheduler, self._pool, limits.block_size)
        self._next_seq_id = 0

    @classmethod
    def build(
        cls,
        config: EngineConfig,
        pool_factory: Callable[[KVCacheSpec, int, torch.device], torch.Tensor] = allocate_pool,
        on_progress: OnProgress = ignore_progress,
        expects_forms: bool = False,
    ) -> "EngineCore":
        """Loads the model, allocates the KV pool, and gets ready to run.

        Args:
            pool_factory: makes the pool's tensor from its layout, number of blocks and device
            on_progress: told how far it has come
            expects_forms: what structured output needs is loaded on the side, on a thread that
                ends with it, and not when the first request asks for a form

        Raises:
            ConfigError: the model cannot be served as asked.
        """
        runner = ModelRunner.build(config, on_progress)
        options, max_model_len = config.scheduler, runner.model.max_model_len
        device = runner.model.device
        demand = PoolDemand(
            max_model_len,
            options.max_num_seqs,
            available_bytes=pool_memory_bytes(
                config.cache, device, runner.measure_step_bytes(on_progress)
            ),
            on_host=device.type == "cpu",
        )
        num_blocks = num_blocks_for(runner.kv_spec, config.cache, demand)
        limits = EngineLimits(
            num_blocks=num_blocks,
            block_size=runner.kv_spec.block_size,
            vocab_size=runner.model_config.vocab_size,
            max_model_len=max_model_len,
            eos_token_ids=runner.model_config.eos_token_ids,
            max_num_seqs=options.max_num_seqs,
            max_num_batched_tokens=runner.max_num_batched_tokens,
            max_num_queued_reqs=options.max_num_queued_reqs,
            enable_prefix_caching=config.cache.enable_prefix_caching,
        )
        grammars = _grammars(config.model, limits)
        if expects_forms and grammars is not None:
            threading.Thread(target=grammars.load, name="vocabulary").start()
        runner.attach_pool(pool_factory(runner.kv_spec, num_blocks, device))
        runner.capture(on_progress)
        return cls(runner, limits, grammars=grammars)

    # ------------------------------------------------------------ requests

    def check(self, request: SequenceRequest) -> None:
        """Raises what `add` would raise for a request that can never be served.

        Raises:
            InvalidRequestError: empty prompt, token ids outside the vocabulary, or structured
                output that cannot be had.
            ContextLengthError: it does not fit the context or the KV cache.
        """
        self.limits.total_tokens(request)
        self._grammar_of(request)

    def add(self, request: SequenceRequest, leaves: bool = False) -> int:
        """Queues a sequence and returns its id, which is never used again.

        Args:
            leaves: another engine is to go on with it; `StepResult.leaving` tells of it, until
                `stay`

        Raises:
            InvalidRequestError, ContextLengthError: as `check`.
            OverloadedError: `max_num_queued_reqs` are there beside the `max_num_seqs` that can run.
            EngineError: the engine is broken.
        """
        self._check_alive()
        seq = self._new_sequence(request)
        num_there = self._scheduler.num_waiting + self._scheduler.num_running
        if num_there >= self.limits.max_num_seqs + self.limits.max_num_queued_reqs:
            raise OverloadedError(f"{num_there} sequences are running or waiting already")
        self._scheduler.add(seq)
        if leaves:
            self._leaving.add(seq)
        return seq.seq_id

    def abort(self, seq_id: int) -> None:
        """Ends a sequence in any state, without output.

        Its blocks are free when the last step with it has been collected, or at once.
        """
        seq = self._scheduler.get(seq_id)
        if seq is not None:
            self._scheduler.remove(seq)
            self._scheduler.totals.aborted_sequences += 1

    def has_work(self) -> bool:
        """Whether any sequence is waiting or running, or any step under way."""
        num_sequences = self._scheduler.num_waiting + self._scheduler.num_running
        return num_sequences + self.num_steps_under_way > 0

    @property
    def num_steps_under_way(self) -> int:
        """Steps that the device may be working on between two calls of `step`."""
        return len(self._pipeline)

    def step(self) -> StepResult:
        """Fills the pipeline, then waits for the oldest step and takes its results.

        A result without any tokens means that all memory is held by reserved, paused or pinned
        blocks: nothing goes on until some are given back.

        Raises:
            EngineError: the runner failed; the engine is broken from now on.
        """
        self._check_alive()
        try:
            self._fill_pipeline()
            collected = self._pipeline.collect() if self._pipeline else None
        except BaseException as error:  # a keyboard's interrupt loses steps, but breaks nothing
            if isinstance(error, Exception):
                name = type(error).__name__
                self.failure = EngineError(f"an engine step failed: {name}: {error}")
            self._pipeline.clear()
            self._scheduler.drop_steps()
            if self.failure is None:
                raise
            raise self.failure from error
        if collected is None:
            # A preemption must be told even so: the pins may hold what the others wait for.
            return StepResult((), 0, 0, self._leaving.progress(()))
        return self._update(*collected)

    def _fill_pipeline(self) -> None:
        while self._pipeline.has_room:
            planned = self._scheduler.schedule(self._clock())
            if not planned.batch.sequences:
                return
            self._pipeline.launch(planned)
            self._scheduler.launched(planned)

    def _update(self, planned: PlannedStep, result: RunResult) -> StepResult:
        outputs = self._scheduler.update(planned, result, self._clock())
        return StepResult(
            outputs,
            planned.num_prefill_tokens,
            planned.num_decode_tokens,
            self._leaving.progress(outputs),
        )

    def stats(self) -> EngineStats:
        """The load now, and a copy of the totals."""
        return EngineStats(
            num_running=self._scheduler.num_running,
            num_waiting=self._scheduler.num_waiting,
            num_paused=self._scheduler.num_paused,
            num_queued_prefill_tokens=self._scheduler.num_queued_prefill_tokens,
            num_free_blocks=self._pool.num_free_blocks,
            num_total_blocks=self._pool.num_total_blocks,
            totals=replace(self._scheduler.totals),
        )

    def set_prefill_token_budget(self, num_tokens: int) -> None:
        """How many tokens of a step may go to sequences that need more than one, from now on.

        Raises:
            ConfigError: less than 1.
        """
        self._scheduler.prefill_token_budget = num_tokens

    def check_integrity(self) -> None:
        """Checks scheduler and block pool; slow, for tests and idle moments.

        Raises:
            AssertionError: the state contradicts itself.
        """
        self._scheduler.check_integrity()

    def _check_alive(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _new_sequence(self, request: SequenceRequest) -> Sequence:
        grammar = self._grammar_of(request)
        seq = Sequence.of(self._next_seq_id, request, self.limits, self._clock(), grammar)
        self._next_seq_id += 1
        return seq

    def _grammar_of(self, request: SequenceRequest) -> GrammarState | None:
        structured = request.params.structured_output
        if structured is None:
            return None
        if self.grammars is None:
            raise InvalidRequestError("structured output needs a tokenizer", "structured_output")
        return self.grammars.start(structured, request.output_token_ids)

    # ------------------------------------------------------------ source of a handover

    def unpin(self, block_ids: Seq[int]) -> None:
        """Drops references that came with `StepResult.leaving` or `pause`.

        Args:
            block_ids: in the order of the sequence
        """
        self._pool.release(block_ids)

    def pause(self, seq_id: int) -> PausedSequence | None:
        """Takes a sequence out of the batch; it keeps its blocks, the partial one included.

        What a step under way computes for it is dropped, and computed again after `resume`. That
        step may still write to its blocks, but nowhere before `num_computed_tokens`.

        Each call pins every block with computed tokens once more, until `unpin`: they may be read
        even after the sequence is over. None where the sequence is gone, or has no computed tokens.
        """
        seq = self._scheduler.get(seq_id)
        if seq is None or seq.num_computed_tokens == 0:
            return None
        if seq.status is SequenceStatus.RUNNING:
            self._scheduler.pause(seq)
        return self._leaving.pin_paused(seq)

    def resume(self, seq_id: int) -> None:
        """Has a sequence go on, at its first token too; one that is not paused just goes on."""
        seq = self._scheduler.get(seq_id)
        if seq is None:
            return
        seq.is_held = False
        if seq.status is SequenceStatus.PAUSED:
            self._scheduler.resume(seq)

    def stay(self, seq_id: int) -> None:
        """Nothing more is to be told of a sequence that was to leave; it may still be paused."""
        self._leaving.forget(seq_id)

    def release(self, seq_id: int) -> None:
        """Ends a sequence that another engine has taken; its blocks stay in the prefix cache."""
        seq = self._scheduler.get(seq_id)
        if seq is not None:
            self._scheduler.remove(seq)

    # ------------------------------------------------------------ receiver of a handover

    def reserve(self, request: SequenceRequest, num_extra_tokens: int) -> BlockReservation | None:
        """Sets blocks aside for the known tokens of a sequence and `num_extra_tokens` more.

        None where that would leave running sequences no block to grow into, overtake a sequence
        that waits for room, or exceed `max_num_seqs`. The caller owns the blocks until `adopt` or
        `give_back`.

        Raises:
            InvalidRequestError, ContextLengthError, EngineError: as `add`.
        """
        self._check_alive()
        seq = self._new_sequence(request)
        seq.forget_prompt()  # whoever computes it tells of it
        num_tokens = min(len(seq.token_ids) + num_extra_tokens, seq.max_total_tokens - 1)
        num_running = self._scheduler.num_running
        if not self._scheduler.can_reserve or not self._blocks.claim(seq, num_tokens, num_running):
            return None
        num_cached = seq.num_registered_blocks
        fresh = seq.block_table[num_cached:]
        return BlockReservation(
            cached_block_ids=seq.block_table[:num_cached],
            fresh_block_ids=fresh,
            epochs=tuple(map(self._pool.epoch, fresh)),
            num_cached_tokens=num_cached * self.limits.block_size,
        )

    def adopt(
        self, request: SequenceRequest, reservation: BlockReservation, num_computed_tokens: int
    ) -> int:
        """Goes on with a sequence whose first `num_computed_tokens` tokens lie in the blocks.

        `request` holds the tokens that were sampled elsewhere. Whatever is known beyond the
        computed tokens is computed here; blocks beyond them are kept for growth. With
        `num_computed_tokens` = 0 all but the prefix hits is computed here.

        Raises:
            InvalidRequestError, ContextLengthError, EngineError: as `add`; the reservation is
                still the caller's then.
        """
        self._check_alive()
        seq = self._new_sequence(request)
        seq.block_table = reservation.block_ids
        seq.num_registered_blocks = len(reservation.cached_block_ids)
        seq.num_cached_tokens = min(reservation.num_cached_tokens, seq.num_prompt_tokens)
        seq.num_computed_tokens = min(
            max(num_computed_tokens, reservation.num_cached_tokens),
            len(seq.block_table) * self.limits.block_size,
            len(seq.token_ids) - 1,
        )
        self._scheduler.adopt(seq)
        return seq.seq_id

    def give_back(self, block_ids: Seq[int]) -> None:
        """Frees reserved blocks that will not be adopted, in the order of the sequence."""
        self._pool.release(block_ids)


def _grammars(options: ModelOptions, limits: EngineLimits) -> GrammarCompiler | None:
    if options.skip_tokenizer_init:
        return None
    name = options.tokenizer or options.model
    return GrammarCompiler.for_model(name, limits.vocab_size, limits.eos_token_ids)
