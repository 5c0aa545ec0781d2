"""Random traffic on a small pool: every sequence must end with the text that it has on its own.

The same whether one step is under way or two. Nobody may be given a block that a step under way
still writes or reads.
"""

from contextlib import suppress
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from legato.engine.batch import SequenceRequest
from legato.engine.errors import OverloadedError
from legato.engine.handover import BlockReservation, LeavingProgress
from legato.engine.sampling_params import SamplingParams
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind
from legato.tests.engine.fake_runner import answer, fake_engine
from legato.tests.engine.letters import formed_answer, letters_compiler

NUM_BLOCKS = 7
MAX_STEPS = 3000

# Few tokens and cuts from one text, so that prefixes are shared and blocks are duplicated.
TEXT = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
GRAMMARS = letters_compiler()
REGEX = StructuredOutputKind.REGEX
FORMS = [None, StructuredOutput(REGEX, "(ab?[0-9]){3}"), StructuredOutput(REGEX, "x[a-c]*")]
prompts = st.one_of(
    st.integers(1, len(TEXT)).map(lambda length: TEXT[:length]),
    st.lists(st.integers(1, 3), min_size=1, max_size=10).map(tuple),
)
requests = st.builds(
    SequenceRequest,
    prompt_token_ids=prompts,
    params=st.builds(
        SamplingParams,
        temperature=st.just(0),
        max_tokens=st.integers(1, 12),
        structured_output=st.sampled_from(FORMS),
    ),
    sampling_seed=st.just(0),
    priority=st.integers(0, 2),
    salt=st.sampled_from([b"", b"x"]),
)


@dataclass
class Client:
    """What one request's sender has seen so far."""

    request: SequenceRequest
    tokens: list[int] = field(default_factory=list)
    is_finished: bool = False

    def request_so_far(self) -> SequenceRequest:
        return replace(self.request, output_token_ids=tuple(self.tokens))


def expected(request: SequenceRequest) -> list[int]:
    if request.params.structured_output is not None:
        return formed_answer(GRAMMARS, request)
    return answer(request.prompt_token_ids, request.params.max_tokens or 0)


class TrafficMachine(RuleBasedStateMachine):
    pipeline_depth = 1

    @initialize(budget=st.integers(1, 12), seqs=st.integers(1, 5))
    def start(self, budget: int, seqs: int) -> None:
        self.core, self.runner = fake_engine(
            NUM_BLOCKS,
            self.pipeline_depth,
            GRAMMARS,
            max_num_batched_tokens=budget,
            max_num_seqs=seqs,
            max_num_queued_reqs=3,
        )
        self.clients: dict[int, Client] = {}
        self.paused: list[int] = []
        self.reserved: list[tuple[SequenceRequest, BlockReservation]] = []
        self.pinned: list[int] = []

    @rule(request=requests, leaves=st.booleans())
    def add(self, request: SequenceRequest, leaves: bool) -> None:
        try:
            self.clients[self.core.add(request, leaves)] = Client(request)
        except OverloadedError:
            stats = self.core.stats()
            assert stats.num_waiting + stats.num_running >= self.core.limits.max_num_seqs + 3

    @rule(num_steps=st.integers(1, 6))
    def step(self, num_steps: int) -> None:
        for _ in range(num_steps):
            result = self.core.step()
            for output in result.outputs:
                client = self.clients[output.seq_id]
                assert output.position == len(client.tokens)
                client.tokens += output.token_ids
                client.is_finished = output.finish_reason is not None
            for progress in result.leaving:
                self._take_pins(progress)

    def _take_pins(self, progress: LeavingProgress) -> None:
        self.pinned += [block.block_id for block in progress.blocks]
        if progress.paused is not None:
            self.pinned += progress.paused.block_ids
            self.paused.append(progress.seq_id)

    @rule()
    def interrupt(self) -> None:
        """Somebody presses Ctrl-C while a result is waited for."""
        if self.core.has_work():
            self.runner.result_error = KeyboardInterrupt()
            with suppress(KeyboardInterrupt):
                self.core.step()
            self.runner.result_error = None

    @rule(num_tokens=st.integers(1, 12))
    def change_role(self, num_tokens: int) -> None:
        self.core.set_prefill_token_budget(num_tokens)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        seq_id = data.draw(st.sampled_from(sorted(self.clients)))
        self.core.abort(seq_id)
        if not self.clients[seq_id].is_finished:
            del self.clients[seq_id]
        if seq_id in self.paused:
            self.paused.remove(seq_id)
        self._try_for_blocks()

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        seq_id = data.draw(st.sampled_from(sorted(self.clients)))
        paused = self.core.pause(seq_id)
        if paused is not None:
            assert paused.output_token_ids == tuple(self.clients[seq_id].tokens)
            self.pinned += paused.block_ids
            self.paused = [*{*self.paused, seq_id}]

    @precondition(lambda self: self.paused)
    @rule()
    def resume(self) -> None:
        self.core.resume(self.paused.pop())

    @precondition(lambda self: self.paused)
    @rule(loses_tail=st.booleans())
    def hand_over(self, loses_tail: bool) -> None:
        """The paused sequence goes on in other blocks of the same engine."""
        seq_id = self.paused[-1]
        client = self.clients[seq_id]
        reservation = self._reserve(client.request_so_far(), num_extra_tokens=2)
        if reservation is None:
            return
        paused = self.core.pause(seq_id)
        assert paused is not None
        self.pinned += paused.block_ids
        num_computed = 0 if loses_tail else paused.num_computed_tokens
        first = len(reservation.cached_block_ids)
        pairs = zip(paused.block_ids[first:], reservation.fresh_block_ids, strict=False)
        for source, target in () if loses_tail else pairs:
            self.runner.kv[target] = list(self.runner.kv[source])
        self.core.release(seq_id)
        self.paused.pop()
        self._try_for_blocks()
        new_id = self.core.adopt(client.request_so_far(), reservation, num_computed)
        self.clients[new_id] = self.clients.pop(seq_id)

    @rule(request=requests)
    def reserve(self, request: SequenceRequest) -> None:
        reservation = self._reserve(request, num_extra_tokens=1)
        if reservation is not None:
            self.reserved.append((request, reservation))

    def _try_for_blocks(self) -> None:
        """Are the blocks of a sequence that has just left anybody's to take?"""
        reservation = self._reserve(SequenceRequest((49,), SamplingParams(), 0), 0)
        if reservation is not None:
            self.core.give_back(reservation.block_ids)

    def _reserve(self, request: SequenceRequest, num_extra_tokens: int) -> BlockReservation | None:
        reservation = self.core.reserve(request, num_extra_tokens)
        if reservation is not None:
            assert not self.runner.blocks_under_way() & {*reservation.fresh_block_ids}
        return reservation

    @precondition(lambda self: self.reserved)
    @rule(is_adopted=st.booleans())
    def end_reservation(self, is_adopted: bool) -> None:
        request, reservation = self.reserved.pop()
        if is_adopted:
            seq_id = self.core.adopt(request, reservation, num_computed_tokens=0)
            self.clients[seq_id] = Client(request)
        else:
            self.core.give_back(reservation.block_ids)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def stay(self, data: st.DataObject) -> None:
        seq_id = data.draw(st.sampled_from(sorted(self.clients)))
        self.core.stay(seq_id)
        self.core.resume(seq_id)
        self.paused = [each for each in self.paused if each != seq_id]

    @precondition(lambda self: self.pinned)
    @rule()
    def unpin(self) -> None:
        self.core.unpin([self.pinned.pop()])

    @invariant()
    def state_is_sound(self) -> None:
        if hasattr(self, "core"):
            self.core.check_integrity()

    def teardown(self) -> None:
        if not hasattr(self, "core"):
            return
        for seq_id in self.clients:
            self.core.resume(seq_id)
        for _, reservation in self.reserved:
            self.core.give_back(reservation.block_ids)
        num_steps = 0
        while self.core.has_work() or self.pinned:
            self.core.unpin(self.pinned)
            self.pinned.clear()
            self.step(1)
            num_steps += 1
            assert num_steps < MAX_STEPS
        for client in self.clients.values():
            request = client.request
            assert client.is_finished
            assert client.tokens == expected(request)
        assert self.core.stats().num_free_blocks == NUM_BLOCKS


class PipelinedTrafficMachine(TrafficMachine):
    pipeline_depth = 2


SETTINGS = settings(max_examples=100, stateful_step_count=50, deadline=None)
TrafficMachine.TestCase.settings = PipelinedTrafficMachine.TestCase.settings = SETTINGS
TestTraffic = TrafficMachine.TestCase
TestPipelinedTraffic = PipelinedTrafficMachine.TestCase
