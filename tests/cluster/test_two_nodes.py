"""Prefill on one Ray node and decode on another, which share no memory as far as they know."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster as RayCluster

from legato.cluster.placement import Decision, Role
from legato.cluster.transfer.nixl_agent import is_installed
from legato.cluster.transfer.transport import KVTransport
from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.tests.cluster.harness import cluster, greedy

# Both nodes are on this machine: without being told, the workers would share memory.
ROADS = [
    KVTransport.OBJECT_STORE,
    pytest.param(
        KVTransport.NIXL,
        marks=pytest.mark.skipif(not is_installed(), reason="needs the extra 'nixl'"),
    ),
]


@pytest.fixture(scope="module")
def node_ids() -> Iterator[list[str]]:
    nodes = RayCluster(initialize_head=True, head_node_args={"num_cpus": 2})
    other = nodes.add_node(num_cpus=2)
    ray.init(address=nodes.address, log_to_driver=False)
    head = ray.get_runtime_context().get_node_id()
    yield [head, other.node_id]
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.parametrize("apart", ROADS)
async def test_blocks_pass_between_nodes(
    model: Path, node_ids: list[str], apart: KVTransport
) -> None:
    prompt = [(11 * i) % 90 + 4 for i in range(150)]
    llm = LLM(model=str(model), dtype="float32", skip_tokenizer_init=True)
    params = SamplingParams(temperature=0, max_tokens=300, ignore_eos=True)
    alone = llm.generate([prompt], params, use_tqdm=False)[0].outputs[0].token_ids
    async with cluster(model, num_prefill=0, num_decode=0, kv_transport=apart) as running:
        await running.add_worker(Role.PREFILL, node_ids[0])
        await running.add_worker(Role.DECODE, node_ids[1])
        await running.until(lambda: len(running.client.reports()) == 2)
        for _ in range(2):  # P generates on until the blocks have arrived
            assert await running.generate(greedy(prompt, 300)) == list(alone)
        assert running.seen.decisions == [Decision.DISAGGREGATED] * 2
        assert [outcome for outcome, _ in running.seen.handovers] == ["handed_over"] * 2
        assert running.seen.handovers[0][1].transfer_bytes > 0
        roads = [road for one in running.client.reports() for road in one.transports.values()]
        assert roads == [apart]
        await running.until_idle()
