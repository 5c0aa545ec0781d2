"""Prefill on one host and decode on another, with nothing between them but a cable that fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from legato.cluster.gang import Gang
from legato.cluster.generation import GenerationRequest
from legato.cluster.placement import Decision, Role
from legato.cluster.transfer.nixl_agent import is_installed
from legato.cluster.transfer.transport import KVTransport
from legato.engine.errors import NoWorkerError
from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.tests.checkpoints import make_checkpoint
from legato.tests.cluster.cable import CUT, GOOD, Quality
from legato.tests.cluster.harness import Cluster, answers_of_one_engine, cluster, greedy
from legato.tests.cluster.streams import Streams
from legato.tests.cluster.two_hosts import TwoHosts, two_hosts, why_not

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A process that is gone refuses connections, and is taken for dead after two seconds. A cut cable
# is never long enough here for Ray to give a node up.
HEALTH_CHECK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 60_000,
    "health_check_failure_threshold": 2,
}
NOTICED_S = 15.0  # five silent seconds, and a busy machine
SLOW_AND_LOSSY = Quality(delay_s=0.05, lost_every=50, bytes_per_s=2.5e6)
VERY_SLOW = Quality(bytes_per_s=1e5)  # 7 s for BIG_PROMPT's blocks
MAX_GAP_S = 3.0  # some lost packets in a row, and a busy machine
WORKER_WAIT_S = 1.0


def request(index: int, num_prompt_tokens: int, max_tokens: int) -> GenerationRequest:
    """Every second one is drawn at random, from a seed of its own."""
    prompt = [(7 * i + 3 * index) % 90 + 4 for i in range(num_prompt_tokens)]
    if index % 2 == 0:
        return greedy(prompt, max_tokens)
    params = SamplingParams(temperature=0.9, top_p=0.9, max_tokens=max_tokens, ignore_eos=True)
    return GenerationRequest(tuple(prompt), params, sampling_seed=index, priority=0, salt=b"")


SHORT = [request(n, (9, 300, 333)[n], 150) for n in range(3)]
LONG = [request(10 + n, 20, 700) for n in range(2)]
BIG_PROMPT = [request(20, 1500, 200)]


@dataclass(frozen=True)
class Pair:
    """Prefill here, decode there; and a cluster whose only worker is there."""

    hosts: TwoHosts
    running: Cluster
    decode: Gang
    lonely: Cluster

    @property
    def is_quiet(self) -> bool:
        """Whether the router hears nothing from the decode worker, or has given it up."""
        links = {link.name: link for link in self.running.client.links}
        name = str(self.decode.name)
        return name not in links or links[name].is_quiet

    async def stream_when(
        self, requests: list[GenerationRequest], is_time: Callable[[Streams], bool]
    ) -> Streams:
        """Answers that are under way when `is_time` becomes true.

        Asks again and again: on a busy machine answers can be over before.
        """
        for _ in range(20):
            streams = Streams(self.running, requests)
            await self.running.until(partial(_is_over_or, streams, is_time))
            if not streams.are_over:
                return streams
        raise AssertionError("it never became true while an answer was under way")

    async def stream_there(self) -> Streams:
        """LONG answers in their middle, all from the decode worker."""
        name = str(self.decode.name)
        return await self.stream_when(LONG, lambda streams: set(streams.workers) == {name})


def _is_over_or(streams: Streams, is_time: Callable[[Streams], bool]) -> bool:
    return streams.are_over or is_time(streams)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoHosts]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with two_hosts(tmp_path_factory.mktemp("ray"), HEALTH_CHECK) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return make_checkpoint(folder, "llama", max_position_embeddings=2048)


@pytest.fixture(scope="module")
def expected(hosts: TwoHosts, long_model: Path) -> dict[str, list[list[int]]]:
    """What one engine alone answers."""
    core = LLM(model=str(long_model), dtype="float32", skip_tokenizer_init=True).core
    return {
        "short": answers_of_one_engine(core, SHORT),
        "long": answers_of_one_engine(core, LONG),
        "big prompt": answers_of_one_engine(core, BIG_PROMPT),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(
    hosts: TwoHosts, long_model: Path, expected: dict[str, list[list[int]]]
) -> AsyncIterator[Pair]:
    assert expected  # made before, for it takes seconds in which no stream would be heard
    async with (
        cluster(
            long_model,
            num_prefill=0,
            num_decode=0,
            kv_transport=KVTransport.OBJECT_STORE if is_installed() else KVTransport.AUTO,
            num_gpu_blocks_override=500,
        ) as running,
        cluster(long_model, num_prefill=0, num_decode=0, worker_wait_s=WORKER_WAIT_S) as lonely,
    ):
        await running.until(lambda: hosts.node_there() is not None)
        there = hosts.node_there()
        _, decode, _ = await asyncio.gather(
            running.add_worker(Role.PREFILL, hosts.here),
            running.add_worker(Role.DECODE, there),
            lonely.add_worker(Role.DECODE, there),
        )
        await running.until(lambda: len(running.client.reports()) == 2)
        await running.until(lambda: len(lonely.client.reports()) == 1)
        yield Pair(hosts, running, decode, lonely)


async def test_blocks_pass_through_the_object_store(
    pair: Pair, expected: dict[str, list[list[int]]]
) -> None:
    running = pair.running
    assert await Streams(running, SHORT).end() == expected["short"]
    assert set(running.seen.decisions) == {Decision.DISAGGREGATED}
    events = await running.until_handed_over(SHORT[2])
    assert [token for event in events for token in event.token_ids] == expected["short"][2]
    assert running.seen.handovers[-1][1].transfer_bytes > 0
    hosts = {one.role: one.address.split(":")[0] for one in running.client.descriptions()}
    assert (hosts["prefill"], hosts["decode"]) == pair.hosts.addresses
    roads = {one.role: one.transports for one in running.client.reports()}
    assert roads == {"prefill": {str(pair.decode.name): "object_store"}, "decode": {}}
    await running.until_idle()


async def test_on_a_slow_and_lossy_link_no_token_waits_for_a_transfer(
    pair: Pair, expected: dict[str, list[list[int]]]
) -> None:
    pair.hosts.cable.quality = SLOW_AND_LOSSY
    try:
        streams = Streams(pair.running, SHORT)
        assert await streams.end() == expected["short"]
        assert streams.longest_gap_s < MAX_GAP_S
        await pair.running.until_idle()
    finally:
        pair.hosts.cable.quality = GOOD


async def test_a_cut_cable_is_noticed_and_costs_no_token(
    pair: Pair, expected: dict[str, list[list[int]]]
) -> None:
    running = pair.running
    streams = await pair.stream_there()
    pair.hosts.cable.quality = CUT
    async with asyncio.timeout(NOTICED_S):
        await running.until(lambda: pair.is_quiet)
        await running.generate(greedy([5, 6, 7], 3))  # does not wait until it is lost
        assert running.seen.decisions[-1] is Decision.DECODE_ON_PREFILL
        await running.until(lambda: len(running.client.reports()) == 1)
    assert await streams.end() == expected["long"]
    assert running.seen.num_failovers
    assert running.client.reports()[0].role == "prefill"
    await running.until_idle()


async def test_when_the_cable_is_back_the_worker_is_used_again(
    pair: Pair,
) -> None:
    pair.hosts.cable.quality = GOOD
    await pair.running.until(lambda: len(pair.running.client.reports()) == 2)
    await pair.running.until_idle()
    await pair.running.until_handed_over(SHORT[0])
    await pair.running.until_idle()


async def test_blocks_that_are_under_way_on_a_cut_cable_are_given_up(
    pair: Pair, expected: dict[str, list[list[int]]]
) -> None:
    running = pair.running
    pair.hosts.cable.quality = VERY_SLOW
    try:
        big = await pair.stream_when(
            BIG_PROMPT,
            lambda _: any(one.num_reserved_blocks for one in running.client.reports()),
        )
        pair.hosts.cable.quality = CUT
        assert await big.end() == expected["big prompt"]
        await running.until(lambda: len(running.client.reports()) == 1)
        await running.until_idle()
    finally:
        pair.hosts.cable.quality = GOOD
    await running.until(lambda: len(running.client.reports()) == 2)
    await running.until_idle()


async def test_a_host_that_is_gone_costs_no_token(
    pair: Pair, expected: dict[str, list[list[int]]]
) -> None:
    running = pair.running
    lonely = Streams(pair.lonely, LONG)
    streams = await pair.stream_there()
    pair.hosts.crash_there()
    crashed_at = time.monotonic()
    with pytest.raises(NoWorkerError, match="no worker is ready"):
        await lonely.end()
    assert time.monotonic() - crashed_at < NOTICED_S
    assert 0 < len(lonely.answers[0]) < len(expected["long"][0])
    assert await streams.end() == expected["long"]
    await running.until(lambda: len(running.client.reports()) == 1)
    await running.until_idle()


async def test_a_host_that_comes_instead_is_used(pair: Pair) -> None:
    running = pair.running
    await running.until(lambda: pair.hosts.node_there() is None)
    pair.hosts.start_there()
    await running.until(lambda: pair.hosts.node_there() is not None)
    await running.add_worker(Role.DECODE, pair.hosts.node_there())
    await running.until(lambda: len(running.client.reports()) == 2)
    await running.until_handed_over(SHORT[0])
    await running.until_idle()
