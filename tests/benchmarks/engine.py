"""The engine on one GPU with Llama-8B's shape: time between tokens, to the first one, throughput.

Random weights, random prompts, greedy, answers of full length, no prefix cache.
  ITL at batch b: (time for b prompts to 130 tokens each - the same to 2 tokens) / 128
  TTFT: a prompt alone on an engine that was idle, to its first token; and one after the other
  throughput: all requests at once, prompts and answers of uniform lengths
"""

import argparse
import gc
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.tests.benchmarks.engine_checks import (
    bfloat16_error_ratio,
    greedy_tokens,
    small_llm,
    transformers_tokens,
)
from legato.tests.benchmarks.model_shapes import LLAMA_8B, write_config
from legato.tests.benchmarks.report import Row, show

# batch, prompt tokens, must and aim in ms; vLLM's figures stand in docs/benchmarks.md
ITL = (
    (1, 512, 4.7, 4.1),
    (8, 512, 4.9, 4.3),
    (32, 512, 5.6, 5.1),
    (64, 512, 6.4, 5.9),
    (128, 512, 8.2, 7.4),
    (256, 512, 13.0, 11.6),
    (1, 16384, 5.3, 4.7),
    (16, 16384, 13.4, 12.6),
    (64, 4096, 13.3, 12.6),
)
TTFT = ((128, 8.5, 6.5), (1024, 28, 24), (4096, 95, 90), (16384, 540, 450), (32768, 1400, 1080))
VOCABULARY = 128256
IDLE_S = 1.0  # a GPU at its limit of power computes slower after a while
SECTIONS = ("itl", "ttft", "throughput")


def random_prompts(rng: random.Random, lengths: list[int]) -> list[list[int]]:
    return [[rng.randrange(1000, VOCABULARY) for _ in range(length)] for length in lengths]


def seconds_to(llm: LLM, prompts: list[list[int]], num_tokens: list[int]) -> float:
    """Wall time until each prompt has its number of tokens."""
    params = [
        SamplingParams(temperature=0, max_tokens=count, ignore_eos=True) for count in num_tokens
    ]
    torch.cuda.synchronize()
    started = time.perf_counter()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    elapsed = time.perf_counter() - started
    assert [len(output.outputs[0].token_ids) for output in outputs] == num_tokens
    return elapsed


def measure_itl(llm: LLM, rng: random.Random, rounds: int) -> list[Row]:
    rows = []
    for batch, length, must, aim in ITL:
        figures = []
        seconds_to(llm, random_prompts(rng, [length] * batch), [2] * batch)
        for _ in range(rounds):
            prompts = random_prompts(rng, [length] * batch)
            short = seconds_to(llm, prompts, [2] * batch)
            figures.append((seconds_to(llm, prompts, [130] * batch) - short) / 128)
        context = f", context {length // 1024}k" if length > 512 else ""
        name = f"ITL b={batch}{context}"
        rows.append(Row(name, 1000 * statistics.median(figures), "ms", must, aim, False))
        print(rows[-1], flush=True)
    return rows


def measure_ttft(llm: LLM, rng: random.Random, rounds: int) -> list[Row]:
    rows = []
    for length, must, aim in TTFT:
        alone, in_a_row = [], []
        for _ in range(2 * rounds + 1):
            prompts = random_prompts(rng, [length] * 3)
            time.sleep(IDLE_S)
            times = [seconds_to(llm, [prompt], [1]) for prompt in prompts]
            alone.append(times[0])
            in_a_row += times[1:]
        figures = [1000 * statistics.median(times) for times in (alone, in_a_row)]
        rows.append(Row(f"TTFT {length} tokens", figures[0], "ms", must, aim, False))
        rows.append(Row("  without a pause between prompts", figures[1], "ms"))
        print(*rows[-2:], flush=True)
    return rows


def measure_throughput(llm: LLM, rng: random.Random, num_requests: int) -> list[Row]:
    prompts = random_prompts(rng, [rng.randint(100, 1024) for _ in range(num_requests)])
    counts = [rng.randint(100, 1024) for _ in range(num_requests)]
    before = llm.core.stats().totals.preemptions
    elapsed = seconds_to(llm, prompts, counts)
    preempted = llm.core.stats().totals.preemptions - before
    rows = [
        Row("throughput, output", sum(counts) / elapsed, "tok/s", 12_000, 13_500),
        Row("preemptions meanwhile", preempted, ""),
    ]
    print(*rows, flush=True)
    return rows


def measure_transformers(folder: Path, rng: random.Random) -> dict[int, float]:
    """Tokens a second of transformers' generate on the same GPU, at batch 1 and 128."""
    config = AutoConfig.from_pretrained(folder)
    with torch.device("cuda"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.eval().generation_config.eos_token_id = None
    rates = {}
    for batch in (1, 128):
        ids = torch.tensor(random_prompts(rng, [512] * batch), device="cuda")
        mask = torch.ones_like(ids)
        model.generate(ids, attention_mask=mask, max_new_tokens=2, do_sample=False)
        torch.cuda.synchronize()
        started = time.perf_counter()
        model.generate(ids, attention_mask=mask, max_new_tokens=64, do_sample=False)
        torch.cuda.synchronize()
        rates[batch] = 64 * batch / (time.perf_counter() - started)
    return rates


def compare_with_transformers(rates: dict[int, float], throughput: float) -> list[Row]:
    """The headline: all requests at once, against a server that calls generate for each."""
    return [
        Row("transformers' generate, b=1", rates[1], "tok/s"),
        Row("transformers' generate, b=128, equal lengths", rates[128], "tok/s"),
        Row("throughput against generate one by one", throughput / rates[1], "x", 24, 24),
        Row("throughput against generate, b=128", throughput / rates[128], "x"),
    ]


def check_against_transformers() -> list[Row]:
    """With the built-in model: tokens in float32, logits in bfloat16."""
    pairs = list(zip(greedy_tokens(small_llm("cuda")), transformers_tokens(), strict=True))
    equal = 100 * statistics.mean(ours == theirs for ours, theirs in pairs)
    ratio = bfloat16_error_ratio()
    return [
        Row("greedy answers in float32 equal to transformers'", equal, "%", 100, 100),
        Row("error of bfloat16 logits over transformers' own", ratio, "x", 2, 1, False),
    ]


def check_alone_and_together(llm: LLM, rng: random.Random) -> Row:
    """Share of greedy tokens that a request gets in a batch as it gets them alone."""
    prompts = random_prompts(rng, [rng.randint(20, 700) for _ in range(24)])
    params = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
    together = [o.outputs[0].token_ids for o in llm.generate(prompts, params, use_tqdm=False)]
    alone = [
        llm.generate([prompt], params, use_tqdm=False)[0].outputs[0].token_ids for prompt in prompts
    ]
    firsts = [a[0] == b[0] for a, b in zip(alone, together, strict=True)]
    return Row("first tokens in a batch equal to those alone", 100 * statistics.mean(firsts), "%")


def build_llm(directory: Path, args: argparse.Namespace) -> tuple[LLM, Row]:
    torch.cuda.init()
    started = time.perf_counter()
    llm = LLM(
        model=str(directory),
        load_format="dummy",
        skip_tokenizer_init=True,
        enable_prefix_caching=False,
        max_model_len=args.max_model_len,
        max_num_seqs=args.max_num_seqs,
        max_num_queued_reqs=10_000,
        gpu_memory_utilization=args.gpu_memory_utilization,
    )
    seconds_to(llm, random_prompts(random.Random(0), [16]), [2])
    return llm, Row("start-up", time.perf_counter() - started, "s", 20, 8, False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", default=",".join(SECTIONS), help="comma-separated")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--requests", type=int, default=1024, help="for throughput")
    parser.add_argument("--max-num-seqs", type=int, default=1024)
    parser.add_argument("--max-model-len", type=int, default=36_864)
    parser.add_argument("--gpu-memory-utilization", type=float, default=0.92)
    args = parser.parse_args()
    rng = random.Random(1)
    rows = check_against_transformers()
    with tempfile.TemporaryDirectory() as folder:
        directory = write_config(Path(folder, "llama-8b"), LLAMA_8B)
        rates = measure_transformers(directory, rng)
        gc.collect()
        torch.cuda.empty_cache()
        llm, start_up = build_llm(directory, args)
        print(start_up, flush=True)
    measures: dict[str, Callable[[], list[Row]]] = {
        "itl": lambda: measure_itl(llm, rng, args.rounds),
        "ttft": lambda: measure_ttft(llm, rng, args.rounds),
        "throughput": lambda: measure_throughput(llm, rng, args.requests),
    }
    rows += [start_up, check_alone_and_together(llm, rng)]
    for section in args.sections.split(","):
        rows += measures[section]()
    throughput = [row.value for row in rows if row.name.startswith("throughput")]
    if throughput:
        rows += compare_with_transformers(rates, throughput[0])
    title = f"Engine, Llama-8B's shape in bfloat16, {torch.cuda.get_device_name()}"
    return 0 if show(title, rows) else 1


if __name__ == "__main__":
    sys.exit(main())
