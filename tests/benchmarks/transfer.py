"""KV pushes between two GPUs of this host: bytes a second, and what the engines feel of it.

    prefill worker, GPU 0:  engine + pool  --push kernel-->  pool + engine  :GPU 1, decode worker
                                                             digests

Two processes, each of which sees one GPU alone and runs an engine with Llama-8B's shape. Pushes go
between random blocks of the pools; the receiver's digests must be the sender's.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from legato.cluster.interpreter import share_interpreter
from legato.cluster.transfer.cuda_ipc import CudaIpcTransport, export_pool
from legato.cluster.transfer.digest import BlockDigester
from legato.cluster.transfer.transport import PoolDescriptor
from legato.engine.batch import SequenceRequest
from legato.engine.config import EngineConfig
from legato.engine.core import EngineCore
from legato.engine.kv_cache import allocate_pool
from legato.engine.kv_layout import KVCacheSpec
from legato.engine.sampling_params import SamplingParams
from legato.kernels.backend import kernels_for
from legato.kernels.gpu.block_push import BlockPushConfig, push_blocks
from legato.tests.benchmarks.model_shapes import LLAMA_8B, write_config
from legato.tests.benchmarks.report import Row, show

SIZES = (256, 2048, 8192, 32768)  # tokens
CHUNK = 2048  # tokens that a prefill step computes and pushes
LONGEST = SIZES[-1]
DEVICE = torch.device("cuda", 0)
CANDIDATES = tuple(
    BlockPushConfig(num_programs, rows, num_warps=8)
    for num_programs, rows in itertools.product((12, 16, 20, 24, 32, 48, 64), (8, 16, 32))
)


class Engine:
    """An engine, its pool, and some of its blocks that no sequence uses."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            config = EngineConfig.from_options(
                {
                    "model": str(write_config(Path(folder), LLAMA_8B)),
                    "load_format": "dummy",
                    "skip_tokenizer_init": True,
                    "enable_prefix_caching": False,
                    "max_num_batched_tokens": CHUNK,
                    "max_model_len": LONGEST + 1,
                }
            )
            self.core = EngineCore.build(config, self._allocate)
        prompt = tuple(range(1, LONGEST + 1))
        free = self.core.reserve(SequenceRequest(prompt, SamplingParams(max_tokens=1), 0), 0)
        assert free is not None
        self.block_ids = list(free.fresh_block_ids)

    def _allocate(self, spec: KVCacheSpec, num_blocks: int, device: torch.device) -> torch.Tensor:
        self.pool = allocate_pool(spec, num_blocks, device)
        return self.pool

    def some_blocks(self, num_tokens: int) -> list[int]:
        """Free blocks for so many tokens, in a random order."""
        return random.sample(self.block_ids, num_tokens // self.core.limits.block_size)

    def add(self, num_tokens: int, max_tokens: int) -> None:
        prompt = tuple(random.randrange(1000, 100_000) for _ in range(num_tokens))
        params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
        self.core.add(SequenceRequest(prompt, params, 0))

    def timed_steps(self, goes_on: Callable[[int], bool]) -> list[float]:
        """Seconds from the end of each step to the end of the next."""
        ends = [time.perf_counter()]
        while goes_on(len(ends)) and self.core.has_work():
            self.core.step()
            ends.append(time.perf_counter())
        return [after - before for before, after in itertools.pairwise(ends)][5:]


# ---------------------------------------------------------------- the decode worker's process


def serve_decode(pipe: Connection, batch: int) -> None:
    """Answers until it is told to end: digests of its blocks, and steps while others push."""
    share_interpreter()
    engine = Engine()
    digester = BlockDigester(engine.pool)
    pipe.send((export_pool("decode", engine.pool), engine.block_ids))
    for _ in range(batch):
        engine.add(CHUNK, max_tokens=LONGEST - CHUNK)
    is_over = threading.Event()
    stepping: list[threading.Thread] = []
    times: list[float] = []

    def step() -> None:
        times.extend(engine.timed_steps(lambda _: not is_over.is_set()))

    while engine.core.step().num_prefill_tokens or engine.core.stats().num_waiting:
        pass
    while (command := pipe.recv())[0] != "end":
        match command:
            case ("digests", block_ids):
                pipe.send(digester.digests(block_ids))
            case ("flip", block_id):
                engine.pool.view(torch.uint8).view(len(engine.pool), -1)[block_id, 12345] ^= 4
                torch.cuda.synchronize()
                pipe.send(None)
            case ("step",):
                is_over.clear()
                times.clear()
                stepping.append(threading.Thread(target=step))
                stepping[-1].start()
                pipe.send(None)
            case ("rest",):
                is_over.set()
                stepping.pop().join()
                pipe.send(list(times))


# ---------------------------------------------------------------- the prefill worker's process


class Sender:
    """The prefill worker and its road to the decode worker."""

    def __init__(self, decode: Connection) -> None:
        self.decode = decode
        self.engine = Engine()
        descriptor, self.target_ids = decode.recv()
        self.peer: PoolDescriptor = descriptor
        self.transport = CudaIpcTransport(self.engine.pool, descriptor)
        self.engine.pool.view(torch.int16).random_(-(1 << 15), (1 << 15) - 1)

    def ask(self, *command: object) -> Any:
        self.decode.send(command)
        return self.decode.recv()

    def some_targets(self, num_tokens: int) -> list[int]:
        return random.sample(self.target_ids, num_tokens // self.engine.core.limits.block_size)

    async def push(self, num_tokens: int) -> tuple[float, list[int], tuple[int, ...]]:
        """Bytes a second of one push, where it went, and its digests."""
        targets = self.some_targets(num_tokens)
        sources = self.engine.some_blocks(num_tokens)
        started = time.perf_counter()
        report = await self.transport.push(b"", sources, targets)
        return report.num_bytes / (time.perf_counter() - started), targets, report.digests


def measure_rates(sender: Sender) -> Iterator[Row]:
    """Until the digests are there, as serving pushes; and the kernel alone."""
    for num_tokens in SIZES:
        rates, equal = [], True
        for repeat in range(20):
            rate, targets, digests = asyncio.run(sender.push(num_tokens))
            rates.append(rate / 1e9)
            if repeat % 5 == 0:
                equal &= sender.ask("digests", targets) == list(digests)
        assert equal, "the receiver's digests are not the sender's"
        yield Row(f"push of {num_tokens} tokens, to its digests", statistics.median(rates), "GB/s")
        must, aim = (330.0, 360.0) if num_tokens >= 2048 else (None, None)
        rate = kernel_rate(sender, num_tokens)
        yield Row(f"push of {num_tokens} tokens, kernel", rate, "GB/s", must, aim)
    sender.ask("flip", targets[0])
    assert sender.ask("digests", targets) != list(digests), "a flipped bit was not seen"


def kernel_rate(sender: Sender, num_tokens: int, config: BlockPushConfig | None = None) -> float:
    """GB/s of the push kernel, by the GPU's own clock."""
    engine, target = sender.engine, sender.transport.target
    pairs = torch.tensor([engine.some_blocks(num_tokens), sender.some_targets(num_tokens)])
    source_blocks, target_blocks = pairs.to(DEVICE)
    push = kernels_for(DEVICE).push_blocks
    seconds = []
    for _ in range(20):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(200_000)  # the launches are through before the kernel begins
        start.record()
        if config is None:
            push(engine.pool, target, source_blocks, target_blocks)
        else:
            push_blocks(engine.pool, target, source_blocks, target_blocks, config=config)
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1000)
    num_bytes = source_blocks.shape[0] * sender.peer.bytes_per_block
    return float(num_bytes / statistics.median(seconds) / 1e9)


def measure_digests(sender: Sender) -> Iterator[Row]:
    digester = BlockDigester(sender.engine.pool)
    blocks = sender.engine.some_blocks(CHUNK)
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        digester.digests(blocks)
        seconds.append(time.perf_counter() - started)
    rate = len(blocks) * sender.peer.bytes_per_block / statistics.median(seconds) / 1e9
    yield Row("digests of 2048 tokens, on the receiver", rate, "GB/s")


def measure_steps(sender: Sender, num_chunks: int) -> Iterator[Row]:
    """Prefill steps that push the chunk before them, into a worker that decodes and verifies."""
    pushing = asyncio.new_event_loop()
    thread = threading.Thread(target=pushing.run_forever, daemon=True)
    thread.start()

    def prefill_steps(pushes: bool) -> list[float]:
        for _ in range(num_chunks):
            sender.engine.add(CHUNK, max_tokens=1)
        under_way: list[Any] = []

        async def push_and_verify() -> None:
            _, targets, digests = await sender.push(CHUNK)
            found = await asyncio.to_thread(sender.ask, "digests", targets)
            assert found == list(digests)

        def goes_on(_: int) -> bool:
            if pushes:
                under_way.append(asyncio.run_coroutine_threadsafe(push_and_verify(), pushing))
            return True

        times = sender.engine.timed_steps(goes_on)
        for one in under_way:
            one.result()
        return times

    def measured(pushes: bool) -> tuple[list[float], list[float]]:
        sender.ask("step")
        of_prefill = prefill_steps(pushes)
        return of_prefill, sender.ask("rest")

    prefill_steps(False)
    # Contexts grow from step to step: what is alone comes before and after.
    before, together, after = measured(False), measured(True), measured(False)
    pushing.call_soon_threadsafe(pushing.stop)
    thread.join()
    for name, part in (("P", 0), ("D", 1)):
        alone = [*before[part], *after[part]]
        mean = statistics.mean(statistics.mean(times[part]) for times in (before, after))
        yield Row(f"step of {name}, nothing pushed", 1000 * mean, "ms")
        slower = 100 * (statistics.mean(together[part]) / mean - 1)
        yield Row(f"step of {name}, a chunk pushed in each of P's", slower, "%", 5, 2, False)
        tails = [statistics.quantiles(times, n=100)[-1] for times in (alone, together[part])]
        yield Row(f"step of {name}, p99", 100 * (tails[1] / tails[0] - 1), "%")


def tune(sender: Sender) -> Iterator[Row]:
    for config in CANDIDATES:
        name = f"{config.num_programs} programs, {config.rows} rows, {config.num_warps} warps"
        yield Row(name, kernel_rate(sender, CHUNK, config), "GB/s")


def run_prefill(pipe: Connection, decode: Connection, options: argparse.Namespace) -> None:
    share_interpreter()
    sender = Sender(decode)
    rows = [*measure_rates(sender), *measure_digests(sender)]
    rows += measure_steps(sender, options.chunks)
    if options.tune:
        rows += tune(sender)
    decode.send(("end",))
    sender.transport.close()
    pipe.send(rows)


def start(gpu: int, target: Callable[..., None], *arguments: object) -> multiprocessing.Process:
    """A process that sees one GPU."""
    os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    return process  # type: ignore[return-value]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=100, help="prefill steps of each kind")
    parser.add_argument("--batch", type=int, default=32, help="sequences that decode meanwhile")
    parser.add_argument("--tune", action="store_true", help="the push kernel in other shapes too")
    options = parser.parse_args()
    if torch.cuda.device_count() < 2:
        print("this benchmark needs two GPUs")
        return 1
    name = torch.cuda.get_device_name(0)
    to_decode, of_decode = multiprocessing.Pipe()
    to_prefill, of_prefill = multiprocessing.Pipe()
    decode = start(1, serve_decode, of_decode, options.batch)
    prefill = start(0, run_prefill, of_prefill, to_decode, options)
    of_prefill.close()
    of_decode.close()
    try:
        rows = to_prefill.recv()
    except EOFError:
        print("a worker's process ended early")
        decode.terminate()
        return 1
    for process in (prefill, decode):
        process.join()
    return 0 if show(f"KV pushes between two GPUs, Llama-8B's shape, 2 x {name}", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
