"""Workers that leave a real cluster while sequences run."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from legato.cluster.departure import depart
from legato.cluster.placement import Role
from legato.cluster.wire import Report
from legato.engine.errors import NoWorkerError
from legato.tests.checkpoints import make_checkpoint
from legato.tests.cluster.harness import Cluster, cluster, greedy

LONG = greedy([5, 6, 7] * 12, 300)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So deep that LONG takes seconds: reports come, and workers go, while it runs."""
    return make_checkpoint(tmp_path_factory.mktemp("deep"), "llama", num_hidden_layers=32)


def _num_leaving(running: Cluster) -> int:
    return sum(report.is_leaving for report in running.client.reports())


def _num_running(report: Report) -> int:
    return report.num_running


def _is_gone(running: Cluster, worker: str) -> bool:
    return worker not in {report.worker for report in running.client.reports()}


async def _is_over(departure: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(20):
        await departure


async def test_a_worker_ends_its_sequences_and_takes_no_new_ones(
    local_ray: None, model: Path
) -> None:
    async with cluster(model, num_prefill=1, num_decode=2) as running:
        expected = await running.generate(LONG)
        for gang in running.gangs[:2]:  # the prefill worker, and one that decodes
            await running.until_idle()
            streams = [asyncio.create_task(running.generate(LONG)) for _ in range(4)]
            await running.until(lambda: sum(map(_num_running, running.client.reports())) >= 3)
            departure = asyncio.create_task(depart(gang, timeout_s=60))
            await running.until(lambda: _num_leaving(running) == 1)
            late = [asyncio.create_task(running.generate(greedy([9] * 30, 5))) for _ in range(3)]
            await asyncio.gather(*late)
            assert await asyncio.gather(*streams) == [expected] * 4
            await _is_over(departure)
            gang.stop()
            await running.until(partial(_is_gone, running, str(gang.name)))
        assert running.seen.num_failovers == 0
        assert await running.generate(LONG) == expected
        await running.until_idle()


async def test_what_outlasts_the_time_to_leave_goes_on_elsewhere(
    local_ray: None, model: Path
) -> None:
    async with cluster(model, num_prefill=0, num_decode=2) as running:
        expected = await running.generate(LONG)
        await running.until_idle()  # or the last reports would tell of this one
        stream = asyncio.create_task(running.generate(LONG))
        await running.until(lambda: any(map(_num_running, running.client.reports())))
        (busy,) = (one.worker for one in running.client.reports() if one.num_running)
        (gang,) = (one for one in running.gangs if str(one.name) == busy)
        await depart(gang, timeout_s=0.05)
        gang.stop()
        assert await stream == expected
        assert running.seen.num_failovers == 1


async def test_if_all_leave_the_last_one_waits_for_a_successor_and_serves_meanwhile(
    local_ray: None, model: Path
) -> None:
    async with cluster(model) as running:
        expected = await running.generate(LONG)
        departures = {gang: asyncio.create_task(depart(gang, 60)) for gang in running.gangs}
        async with asyncio.timeout(20):
            done, (last,) = await asyncio.wait(
                departures.values(), return_when=asyncio.FIRST_COMPLETED
            )
        (first,) = (gang for gang, task in departures.items() if task in done)
        first.stop()
        assert await running.generate(LONG) == expected
        assert not last.done()
        await running.add_worker(Role.PREFILL)
        await _is_over(last)


async def test_nobody_waits_without_routers_nor_for_a_worker_that_is_dead(
    local_ray: None, model: Path
) -> None:
    async with cluster(model, num_prefill=0) as running:
        (gang,) = running.gangs
        stream = asyncio.create_task(running.generate(LONG))
        await running.until(lambda: any(map(_num_running, running.client.reports())))
        await running.client.stop()
        with pytest.raises(NoWorkerError, match="shutting down"):
            await stream
        await asyncio.wait_for(depart(gang, timeout_s=60), timeout=10)
        gang.stop()
        await asyncio.wait_for(depart(gang, timeout_s=60), timeout=20)
