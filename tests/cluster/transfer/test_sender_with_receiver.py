"""Both machines against each other over a network that delays, repeats, reorders, loses, forges.

The model in two_workers.py fails at once when something unsafe happens; here it is driven at
random, and at the end every request has ended and no block and no pin is missing.
"""

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from legato.cluster.transfer.receiver_actions import Adopt, FreeBlocks
from legato.cluster.transfer.sender_events import Cancelled, LinkLost
from legato.cluster.wire import CommitReply, Heartbeat, Stopped
from legato.tests.cluster.transfer.two_workers import Decode, Network, Prefill, Request, Thunk

MAX_REQUESTS = 12


class World:
    """Both workers, the router and the network between them.

    `todo()` is what may happen next of itself, in any order; the methods with a `pick` are what
    may happen to it, each with a number from 0 to 255 to choose the victim by.
    """

    def __init__(self) -> None:
        self.network = Network()
        self.decode = Decode(self.network)
        self.prefill = Prefill(self.network, self.decode)
        self.new_at_p: list[Request] = []
        self.new_at_d: list[Request] = []
        self.unaware: list[Thunk] = []  # sides that have not noticed the link's end
        self.is_prefill_dead = False

    # ---------------------------------------------------------------- of itself

    def todo(self) -> list[Thunk]:
        network = self.network
        return [
            *([self.arrive_at_p] if self.new_at_p else []),
            *([self.arrive_at_d] if self.new_at_d else []),
            *(partial(self.deliver_to_p, i) for i in range(len(network.to_p))),
            *(partial(self.deliver_to_d, i) for i in range(len(network.to_d))),
            *(partial(self.notice, i) for i in range(len(self.unaware))),
            *(self.prefill.todo() if not self.is_prefill_dead else []),
            *self.decode.todo(),
            *(self.attempts_to_connect() if not network.is_up and not self.unaware else []),
        ]

    def arrive_at_p(self) -> None:
        self.prefill.submit(self.new_at_p.pop())

    def arrive_at_d(self) -> None:
        self.decode.submit(self.new_at_d.pop())

    def deliver_to_p(self, position: int) -> None:
        self.prefill.receive(self.network.to_p.pop(position))

    def deliver_to_d(self, position: int) -> None:
        message = self.network.to_d.pop(position)
        self.decode.act(self.decode.table.on_message("prefill", message, self.network.now))

    def notice(self, position: int) -> None:
        self.unaware.pop(position)()

    def attempts_to_connect(self) -> list[Thunk]:
        table = self.decode.table
        if not self.is_prefill_dead:
            return [self.restore_the_link]
        return [
            *([self.notice_at_d] if table.num_reserved_blocks else []),
            *([self.notice_death] if table.num_quarantined_blocks else []),
        ]

    def restore_the_link(self) -> None:
        self.network.is_up = True
        self.decode.act(self.decode.table.link_restored("prefill"))

    def notice_at_p(self) -> None:
        self.prefill.early.link_lost("decode")
        for transfer in list(self.prefill.handovers) if not self.is_prefill_dead else []:
            self.prefill.feed(transfer, LinkLost())

    def notice_at_d(self) -> None:
        self.decode.act(self.decode.table.writer_lost("prefill"))

    def notice_death(self) -> None:
        self.decode.act(self.decode.table.writer_dead("prefill"))

    # ---------------------------------------------------------------- from outside

    def request(self, pick: int) -> None:
        requests = self.network.requests
        if self.is_prefill_dead or len(requests) == MAX_REQUESTS:
            return
        request = Request(
            transfer=bytes([len(requests)]) * 16,
            num_cached=pick % 3,
            num_prompt=5 + pick % 5,
            num_total=5 + pick % 5 + pick % 11,
            is_two_sided=pick % 2 == 1,
        )
        requests[request.transfer] = request
        self.new_at_p.append(request)
        self.new_at_d.append(request)

    def repeat_a_message(self, pick: int) -> None:
        network = self.network
        network.to_p += [network.to_p[pick % len(network.to_p)]] if network.to_p else []
        network.to_d += [network.to_d[pick % len(network.to_d)]] if network.to_d else []

    def cancel(self, pick: int) -> None:
        transfers = list(self.prefill.computations)
        if not transfers:
            return
        transfer = transfers[pick // 4 % len(transfers)]
        self.network.requests[transfer].was_cancelled = True
        if pick % 4 != 0:
            self.decode.act(self.decode.table.abort(transfer))
        if pick % 4 == 1 or self.is_prefill_dead:
            return
        if transfer in self.prefill.handovers:
            self.prefill.feed(transfer, Cancelled())
        else:
            self.prefill.drop(self.prefill.computations[transfer])

    def preempt(self, pick: int) -> None:
        victims = [c for c in self.prefill.computations.values() if c.status == "running"]
        if victims and not self.is_prefill_dead:
            self.prefill.preempt(victims[pick % len(victims)])

    def fail_a_push(self, pick: int) -> None:
        flights = list(self.prefill.flights)
        if flights and not self.is_prefill_dead:
            self.prefill.fail_push(flights[pick % len(flights)])

    def use_free_blocks(self, _pick: int) -> None:
        self.decode.use_elsewhere()

    def corrupt_a_block(self, pick: int) -> None:
        for verify in self.decode.verifying:
            self.decode.memory[verify.block_ids[pick % len(verify.block_ids)]] = -2

    def wait(self, pick: int) -> None:
        self.network.now += (1.0, 4.0, 11.0)[pick % 3]
        if not self.is_prefill_dead:
            self.network.send_to_d(Heartbeat())
            for _, abandon in self.prefill.early.expire(self.network.now):
                self.network.send_to_d(abandon)
        self.decode.act(self.decode.table.expire(self.network.now))

    def lose_the_link(self, _pick: int) -> None:
        if self.network.is_up:
            self.network.is_up = False
            self.network.to_p, self.network.to_d = [], []
            self.unaware = [self.notice_at_p, self.notice_at_d]

    def kill_p(self, pick: int) -> None:
        if pick < 200:  # it ends the game
            return
        self.is_prefill_dead = True
        self.network.is_up = False
        self.new_at_p, self.network.to_p = [], []
        for request in self.network.requests.values():
            request.is_running_on_p = False

    def forge(self, pick: int) -> None:
        table, now = self.decode.table, self.network.now
        for message in self.network.to_d:
            actions = table.on_message("forger", message, now)
            assert not any(isinstance(action, FreeBlocks | Adopt) for action in actions)
        handle = bytes([pick]) * 16
        self.decode.act(table.on_message("prefill", Stopped(handle), now))
        for transfer in list(self.prefill.handovers) if not self.is_prefill_dead else []:
            self.prefill.feed(transfer, CommitReply(handle, taken=True, recomputes=False))

    # ---------------------------------------------------------------- the end

    def come_to_rest(self) -> None:
        for _ in range(10_000):
            todo = self.todo()
            if not todo:
                return
            todo[0]()
        raise AssertionError("it never ends")

    def check_decode_worker(self) -> None:
        decode = self.decode
        assert decode.table.num_reserved_blocks == decode.table.num_quarantined_blocks == 0
        assert decode.pool.num_free_blocks == decode.pool.num_total_blocks
        decode.pool.check_integrity()

    def check_prefill_worker(self) -> None:
        prefill = self.prefill
        assert not prefill.handovers and not prefill.flights and prefill.pins.total() == 0
        assert prefill.pool.num_free_blocks == prefill.pool.num_total_blocks
        prefill.pool.check_integrity()
        for request in self.network.requests.values():
            may_end_early = request.was_cancelled or request.was_lost
            assert request.num_finished <= 1
            assert request.num_finished == 1 or may_end_early


@settings(max_examples=300, deadline=None)
@given(choices=st.binary(min_size=800, max_size=800))
def test_nothing_unsafe_happens_and_nothing_is_lost_on_a_bad_network(choices: bytes) -> None:
    world = World()
    disturbances = (
        *(world.request, world.request, world.request, world.repeat_a_message, world.cancel),
        *(world.preempt, world.fail_a_push, world.use_free_blocks, world.use_free_blocks),
        *(world.corrupt_a_block, world.wait, world.lose_the_link, world.forge, world.kill_p),
    )
    for kind, pick in zip(choices[::2], choices[1::2], strict=True):
        todo = world.todo()
        if kind < 4 * len(disturbances) and kind % 2:
            disturbances[kind // 4](pick)
        elif todo:
            todo[pick % len(todo)]()
    for _ in range(3):
        world.come_to_rest()
        world.wait(2)
    world.come_to_rest()
    world.check_decode_worker()
    if not world.is_prefill_dead:
        world.check_prefill_worker()
