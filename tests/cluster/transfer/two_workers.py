"""A small world for both machines of a transfer: two workers with block pools and memories.

Every write of a push lands by itself, one block at a time. The world fails as soon as a write lands
in a block that was handed out again, a block or a pin is given back twice, KV is adopted that is
not the sequence's, or two engines run one sequence. Who does what when is up to the test: `todo()`
lists what each part could do next.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from legato.cluster.transfer.early_grants import EarlyGrants
from legato.cluster.transfer.receiver import ReservationTable
from legato.cluster.transfer.receiver_actions import (
    Adopt,
    Drop,
    FreeBlocks,
    LeasePolicy,
    ReceiverAction,
    ReservedBlocks,
    Verify,
)
from legato.cluster.transfer.receiver_actions import Send as SendToWriter
from legato.cluster.transfer.sender import Handover, HandoverPolicy
from legato.cluster.transfer.sender_events import (
    BlocksComputed,
    FinishedHere,
    FirstToken,
    HandoverAction,
    HandoverEvent,
    NotPaused,
    Pause,
    Paused,
    Preempted,
    Push,
    PushDone,
    PushFailed,
    Release,
    ReportHandedOver,
    ReportLost,
    Resume,
    Send,
    Unpin,
)
from legato.cluster.transfer.transport import PushReport
from legato.cluster.wire import (
    Abandon,
    CommitReply,
    Deny,
    Grant,
    Heartbeat,
    Hello,
    Revoke,
    Stopped,
    ToDecode,
    ToPrefill,
)
from legato.engine.block_pool import BlockPool

BLOCK_SIZE = 2
POLICY = HandoverPolicy(block_size=BLOCK_SIZE, bytes_per_block=1, max_bytes_left=1)
LEASE = LeasePolicy(renewal_s=10.0, longest_s=40.0)
Thunk = Callable[[], None]


@dataclass
class Request:
    transfer: bytes
    num_cached: int
    num_prompt: int
    num_total: int
    is_two_sided: bool  # the transport's bytes pass through D
    was_cancelled: bool = False
    was_lost: bool = False
    num_finished: int = 0
    is_adopted: bool = False
    is_running_on_p: bool = False

    def kv(self, index: int, num_computed: int) -> int:
        """What block `index` holds when so many tokens are computed."""
        num_filled = min(BLOCK_SIZE, num_computed - index * BLOCK_SIZE)
        return hash((self.transfer, index, num_filled))


@dataclass
class Network:
    """Messages under way between the two workers, and what both can see."""

    now: float = 0.0
    requests: dict[bytes, Request] = field(default_factory=dict)
    to_p: list[ToPrefill] = field(default_factory=list)
    to_d: list[ToDecode] = field(default_factory=list)
    is_up: bool = True

    def send_to_p(self, message: ToPrefill) -> None:
        if self.is_up:
            self.to_p.append(message)

    def send_to_d(self, message: ToDecode) -> None:
        if self.is_up:
            self.to_d.append(message)


@dataclass
class Computation:
    """A sequence on P."""

    request: Request
    block_ids: list[int] = field(default_factory=list)
    num_computed: int = 0
    num_known: int = 0  # tokens that were computed once; fewer are while they are recomputed
    status: str = "running"
    is_pause_wanted: bool = False
    is_held: bool = True  # it stands still at its first token


@dataclass
class Flight:
    """A push under way: writes that have not landed yet, as (source, target)."""

    push: Push
    to_land: list[tuple[int, int]]
    digests: list[int] = field(default_factory=list)


class Decode:
    """D: a block pool, its reservations, and sequences that wait for KV or run."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.pool = BlockPool(14)
        self.memory: dict[int, int] = {}
        self.table = ReservationTable(BLOCK_SIZE, LEASE)
        self.ungranted: list[bytes] = []
        self.verifying: list[Verify] = []
        self.copying: dict[bytes, tuple[int, int, int]] = {}  # by handle: what `write` takes
        self.running: dict[bytes, tuple[int, ...]] = {}  # transfer or other name -> blocks
        self.num_others = 0

    def submit(self, request: Request) -> None:
        num_blocks = -(-request.num_prompt // BLOCK_SIZE) + 1
        if num_blocks > self.pool.num_free_blocks:
            return self.network.send_to_p(Deny(request.transfer))
        table = self.pool.allocate(num_blocks)
        cached, fresh = table[: request.num_cached], table[request.num_cached :]
        for index, block_id in enumerate(cached):
            self.memory[block_id] = request.kv(index, request.num_prompt)
        blocks = ReservedBlocks(cached, fresh, tuple(map(self.pool.epoch, fresh)))
        handle = self.table.open(request.transfer, "prefill", blocks, self.network.now)
        self.ungranted.append(handle)

    def grant(self, handle: bytes) -> None:
        self.ungranted.remove(handle)
        grant = self.table.grant(handle)
        if grant is not None:
            self.network.send_to_p(grant)

    def act(self, actions: tuple[ReceiverAction, ...]) -> None:
        for action in actions:
            match action:
                case FreeBlocks(block_ids):
                    self.pool.release(block_ids)
                case Verify():
                    self.verifying.append(action)
                case Adopt():
                    self.adopt(action)
                case Drop(transfer):
                    assert not self.network.requests[transfer].is_adopted
                case SendToWriter(_, message):
                    self.network.send_to_p(message)

    def adopt(self, adopt: Adopt) -> None:
        request = self.network.requests[adopt.transfer]
        assert not request.is_running_on_p and not request.is_adopted
        request.is_adopted = True
        self.running[adopt.transfer] = adopt.block_ids
        for index in range(-(-adopt.num_computed_tokens // BLOCK_SIZE)):
            expected = request.kv(index, adopt.num_computed_tokens)
            assert self.memory[adopt.block_ids[index]] == expected, "wrong KV was adopted"

    def verify(self, verify: Verify) -> None:
        self.verifying.remove(verify)
        assert self.pool.num_free_among(verify.block_ids) == 0
        digests = [self.memory[block_id] for block_id in verify.block_ids]
        self.act(self.table.finish_commit(verify.handle, digests))

    def finish(self, name: bytes) -> None:
        self.pool.release(self.running.pop(name))
        if name in self.network.requests:
            self.network.requests[name].num_finished += 1

    def use_elsewhere(self) -> None:
        """Another sequence takes all free blocks and writes to them."""
        block_ids = self.pool.allocate(self.pool.num_free_blocks)
        for block_id in block_ids:
            self.memory[block_id] = -1
        self.num_others += 1
        self.running[b"other %d" % self.num_others] = block_ids

    def end_copy(self, handle: bytes) -> None:
        """A copy of this process itself, for a two-sided transport, is done."""
        self.write(*self.copying.pop(handle))
        self.act(self.table.end_write(handle))

    def write(self, block_id: int, epoch: int, content: int) -> None:
        """A remote write lands; nobody on D is asked."""
        assert self.pool.num_free_among([block_id]) == 0, "a write landed in a free block"
        assert self.pool.epoch(block_id) == epoch, "a write landed in a block handed out again"
        self.memory[block_id] = content

    def todo(self) -> list[Thunk]:
        return [
            *(partial(self.grant, handle) for handle in self.ungranted),
            *(partial(self.end_copy, handle) for handle in self.copying),
            *(partial(self.verify, verify) for verify in self.verifying),
            *(partial(self.finish, name) for name in self.running),
        ]


class Prefill:
    """P: an engine that computes a token at a time, and its handovers."""

    def __init__(self, network: Network, decode: Decode) -> None:
        self.network, self.decode = network, decode
        self.pool = BlockPool(128)
        self.memory: dict[int, int] = {}
        self.pins: Counter[int] = Counter()
        self.computations: dict[bytes, Computation] = {}
        self.handovers: dict[bytes, Handover] = {}
        self.transfers: dict[bytes, bytes] = {}  # handle -> transfer
        self.flights: dict[bytes, Flight] = {}
        self.epochs: dict[tuple[bytes, int], int] = {}  # (handle, block of D) -> granted epoch
        self.early = EarlyGrants(5.0)

    def submit(self, request: Request) -> None:
        self.computations[request.transfer] = Computation(request)
        request.is_running_on_p = True
        self.handovers[request.transfer] = Handover(request.transfer, POLICY)
        grant = self.early.claim(request.transfer, "decode")
        if grant is not None:
            self.feed(request.transfer, grant)

    def receive(self, message: ToPrefill) -> None:
        if isinstance(message, Hello | Heartbeat):
            return
        if isinstance(message, CommitReply):
            self.feed(self.transfers.get(message.handle, b""), message)
            return
        if isinstance(message, Grant):
            self.transfers[message.handle] = message.transfer
            for block_id, epoch in zip(message.block_ids, message.epochs, strict=True):
                self.epochs[message.handle, block_id] = epoch
        if message.transfer in self.handovers:
            self.feed(message.transfer, message)
        elif isinstance(message, Grant):
            self.early.hold("decode", message, self.network.now)
        elif isinstance(message, Revoke):
            self.early.revoke(message.transfer, "decode")
            self.network.send_to_d(Stopped(message.handle))

    def feed(self, transfer: bytes, event: HandoverEvent) -> None:
        handover = self.handovers.get(transfer)
        if handover is None:
            return
        for action in handover.handle(event):
            self.act(self.computations[transfer], action)
        if handover.is_over:
            assert transfer not in self.flights
            self.handovers.pop(transfer, None)

    def act(self, computation: Computation, action: HandoverAction) -> None:
        request = computation.request
        match action:
            case Push():
                assert request.transfer not in self.flights
                pairs = list(zip(action.src_block_ids, action.dst_block_ids, strict=True))
                self.flights[request.transfer] = Flight(action, pairs)
            case Unpin(block_ids):
                self.pool.release(block_ids)
                self.pins.subtract(block_ids)
                assert min(self.pins.values()) >= 0
            case Pause():
                computation.is_pause_wanted = True
            case Resume():
                assert computation.status != "over" and not request.is_adopted
                computation.is_held = False
                computation.status = "running"
                request.is_running_on_p = True
            case Release():
                self.drop(computation)
            case Send(message):
                if isinstance(message, Abandon | Stopped):
                    flight = self.flights.get(request.transfer)
                    assert flight is None or flight.push.handle != message.handle
                self.network.send_to_d(message)
            case ReportHandedOver():
                assert request.is_adopted
            case ReportLost():
                request.was_lost = True

    def drop(self, computation: Computation) -> None:
        self.pool.release(computation.block_ids)
        computation.block_ids = []
        computation.status = "over"
        computation.request.is_running_on_p = False

    def pin(self, block_ids: tuple[int, ...]) -> tuple[int, ...]:
        self.pool.acquire(block_ids)
        self.pins.update(block_ids)
        return block_ids

    def step(self, computation: Computation) -> None:
        """One engine step for one sequence: answer a wish for a pause, or compute one token."""
        request, transfer = computation.request, computation.request.transfer
        is_decoding = computation.num_computed >= max(request.num_prompt, computation.num_known)
        if computation.is_pause_wanted:
            computation.is_pause_wanted = False
            if computation.status != "running" or not is_decoding:
                return self.feed(transfer, NotPaused())
            return self.pause(computation)
        if computation.num_computed == len(computation.block_ids) * BLOCK_SIZE:
            computation.block_ids += self.pool.allocate(1)
        computation.num_computed += 1
        computation.num_known = max(computation.num_known, computation.num_computed)
        num_computed, block_id = computation.num_computed, computation.block_ids[-1]
        index = len(computation.block_ids) - 1
        self.memory[block_id] = request.kv(index, num_computed)
        is_first = num_computed == request.num_prompt == computation.num_known
        if is_first and computation.is_held and num_computed < request.num_total:
            self.pause(computation)
        if num_computed % BLOCK_SIZE == 0 and transfer in self.handovers:
            self.feed(transfer, BlocksComputed(index, self.pin((block_id,))))
        if num_computed == request.num_prompt:
            self.feed(transfer, FirstToken())
        if num_computed == request.num_total and computation.status == "running":
            request.num_finished += 1
            self.drop(computation)
            self.feed(transfer, FinishedHere())

    def pause(self, computation: Computation) -> None:
        request = computation.request
        assert request.transfer in self.handovers, "nobody is left who would resume it"
        computation.status = "paused"
        request.is_running_on_p = False
        table = self.pin(tuple(computation.block_ids))
        outputs = range(computation.num_computed - request.num_prompt + 1)
        self.feed(request.transfer, Paused(table, computation.num_computed, tuple(outputs)))

    def preempt(self, computation: Computation) -> None:
        self.pool.release(computation.block_ids)
        computation.block_ids = []
        computation.num_computed = 0
        self.feed(computation.request.transfer, Preempted())

    def land(self, transfer: bytes) -> None:
        """One more write of a push lands, or its end is noticed."""
        flight = self.flights[transfer]
        handle = flight.push.handle
        if not flight.to_land:
            del self.flights[transfer]
            report = PushReport(len(flight.digests), 0.0, tuple(flight.digests))
            return self.feed(transfer, PushDone(flight.push.push_id, report))
        src, dst = flight.to_land.pop(0)
        assert self.pins[src] > 0
        write = (dst, self.epochs[handle, dst], self.memory[src])
        flight.digests.append(self.memory[src])
        if not self.computations[transfer].request.is_two_sided:
            self.decode.write(*write)
        elif self.decode.table.begin_write("prefill", handle, [dst]):
            self.decode.copying[handle] = write
        else:
            self.fail_push(transfer)

    def fail_push(self, transfer: bytes) -> None:
        self.feed(transfer, PushFailed(self.flights.pop(transfer).push.push_id))

    def todo(self) -> list[Thunk]:
        return [
            *(
                partial(self.step, computation)
                for computation in self.computations.values()
                if computation.status == "running" or computation.is_pause_wanted
            ),
            *(
                partial(self.land, transfer)
                for transfer, flight in self.flights.items()
                if flight.push.handle not in self.decode.copying
            ),
        ]
