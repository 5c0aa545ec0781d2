"""Where a step's time goes on the GPU: idle share between kernels, and time by kernel.

A batch of sequences decodes, or prompts are computed one after the other, with a model's shape
under torch's profiler. Kernels of one stream do not overlap but for programmatic launches, which
count while they wait; idle is what no kernel covers.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from legato.engine.batch import SequenceRequest
from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.tests.benchmarks.model_shapes import SHAPES, write_config
from legato.tests.benchmarks.report import Row, show

WARM_UP_STEPS, STEPS, PREFILLS = 20, 30, 4


def decode_steps(llm: LLM, batch: int, context: int) -> Any:
    """The profile of some steps in which every sequence decodes."""
    params = SamplingParams(temperature=0, max_tokens=2000, ignore_eos=True)
    rng = torch.Generator().manual_seed(1)
    for _ in range(batch):
        prompt = torch.randint(1000, 100_000, (context,), generator=rng).tolist()
        llm.core.add(SequenceRequest(tuple(prompt), params, 0))
    while llm.core.step().num_prefill_tokens or llm.core.stats().num_waiting:
        pass
    for _ in range(WARM_UP_STEPS):
        llm.core.step()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(STEPS):
            llm.core.step()
        torch.cuda.synchronize()
    return profiler


def prefills(llm: LLM, length: int) -> Any:
    """The profile of some prompts, each alone to its first token."""
    params = SamplingParams(temperature=0, max_tokens=1, ignore_eos=True)
    rng = torch.Generator().manual_seed(1)
    prompts = torch.randint(1000, 100_000, (2 * PREFILLS, length), generator=rng).tolist()
    llm.generate(prompts[:PREFILLS], params, use_tqdm=False)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for prompt in prompts[PREFILLS:]:
            llm.generate([prompt], params, use_tqdm=False)
        torch.cuda.synchronize()
    return profiler


def spans_of(profiler: Any) -> list[tuple[float, float, str]]:
    """(begin, end, name) of everything that ran on the GPU, in us, by begin."""
    events = [event for event in profiler.events() if event.device_type.name == "CUDA"]
    spans = [(e.time_range.start, e.time_range.end, e.name) for e in events]
    return sorted(span for span in spans if span[1] > span[0])


def idle_share(spans: list[tuple[float, float, str]]) -> float:
    covered, end = 0.0, spans[0][0]
    for begin, stop, _ in spans:
        covered += max(0.0, stop - max(begin, end))
        end = max(end, stop)
    return 1 - covered / (end - spans[0][0])


def largest_gaps(spans: list[tuple[float, float, str]], count: int) -> list[tuple[float, str]]:
    """The longest times without a kernel, in us, and what stands before and behind each."""
    gaps, end, name = [], spans[0][0], ""
    for begin, stop, following in spans:
        if begin > end:
            gaps.append((begin - end, f"{name[:20]} | {following[:20]}"))
        if stop > end:
            end, name = stop, following
    return sorted(gaps, reverse=True)[:count]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SHAPES, default="llama-8b")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--prefill", type=int, help="length of prompts, instead of decoding")
    parser.add_argument("--gaps", type=int, default=8, help="idle times to list")
    parser.add_argument("--top", type=int, default=16, help="kernels to list")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shape = SHAPES[args.model]
        directory = write_config(Path(folder), shape)
        llm = LLM(
            model=str(directory),
            load_format="dummy",
            skip_tokenizer_init=True,
            max_model_len=min(36_864, shape["max_position_embeddings"]),
            enable_prefix_caching=False,
        )
    if args.prefill:
        spans, steps = spans_of(prefills(llm, args.prefill)), PREFILLS
        title = f"Prompts of {args.prefill} tokens"
    else:
        spans, steps = spans_of(decode_steps(llm, args.batch, args.context)), STEPS
        title = f"Decode b={args.batch}, context {args.context}"
    times: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for begin, end, name in spans:
        times[name] += end - begin
        counts[name] += 1
    for gap, place in largest_gaps(spans, args.gaps):
        print(f"{gap:10.1f} us idle: {place}")
    rows = [
        Row("GPU idle between kernels", 100 * idle_share(spans), "%", 3, 1, False),
        Row("step", (spans[-1][1] - spans[0][0]) / steps / 1000, "ms"),
    ]
    for name in sorted(times, key=times.__getitem__, reverse=True)[: args.top]:
        label = f"{counts[name] / steps:.1f} x {times[name] / counts[name]:.1f} us {name}"[:58]
        rows.append(Row(label, times[name] / steps / 1000, "ms"))
    return 0 if show(f"{title}, {torch.cuda.get_device_name()}", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
