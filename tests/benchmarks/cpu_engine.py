"""The engine on a CPU against transformers' generate: same model, same threads, same requests.

Sixteen requests of mixed lengths arrive at once. transformers serves them one by one, or as one
padded batch that runs until the longest answer is done. Greedy, float32; the answers are compared.
Runs take turns, so that a busy machine is busy for all three; each figure is the best of its runs.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.tests.benchmarks.report import Row, show
from legato.tests.checkpoints import load_reference, make_checkpoint

PAD = 0
SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 4096,
    "max_position_embeddings": 2048,
    "eos_token_id": None,
}
Requests = list[tuple[list[int], int]]  # prompt, number of tokens to generate


def make_requests(rng: random.Random, count: int) -> Requests:
    return [
        ([rng.randrange(4, 4096) for _ in range(rng.randint(16, 256))], rng.randint(16, 128))
        for _ in range(count)
    ]


def run_ours(llm: LLM, requests: Requests) -> list[list[int]]:
    params = [
        SamplingParams(temperature=0, max_tokens=count, ignore_eos=True) for _, count in requests
    ]
    outputs = llm.generate([prompt for prompt, _ in requests], params, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def run_one_by_one(model: Any, requests: Requests) -> list[list[int]]:
    answers = []
    for prompt, count in requests:
        output = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            pad_token_id=PAD,
        )
        answers.append(output[0, len(prompt) :].tolist())
    return answers


def run_padded(model: Any, requests: Requests) -> list[list[int]]:
    longest = max(len(prompt) for prompt, _ in requests)
    ids = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt, _ in requests])
    count = max(count for _, count in requests)
    output = model.generate(
        ids,
        attention_mask=(ids != PAD).long(),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        pad_token_id=PAD,
    )
    return [output[i, longest : longest + n].tolist() for i, (_, n) in enumerate(requests)]


def best_s(rounds: int, runs: dict[str, Callable[[], list[list[int]]]]) -> dict[str, float]:
    """Seconds of each one's quickest run, the runs taking turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return {name: min(each) for name, each in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    requests = make_requests(random.Random(1), args.requests)
    num_tokens = sum(count for _, count in requests)
    with tempfile.TemporaryDirectory() as folder:
        directory = make_checkpoint(Path(folder), "llama", **SHAPE)
        llm = LLM(
            model=str(directory),
            dtype="float32",
            skip_tokenizer_init=True,
            enable_prefix_caching=False,  # rounds repeat the prompts
        )
        model = load_reference(directory)
        runs = {
            "ours": lambda: run_ours(llm, requests),
            "one by one": lambda: run_one_by_one(model, requests),
            "padded": lambda: run_padded(model, requests),
        }
        ours, theirs = runs["ours"](), runs["one by one"]()
        num_equal = sum(a == b for a, b in zip(ours, theirs, strict=True))
        seconds = best_s(args.rounds, runs)
    rows = [
        Row("Legato", num_tokens / seconds["ours"], "tok/s"),
        Row("transformers, one by one", num_tokens / seconds["one by one"], "tok/s"),
        Row("transformers, one padded batch", num_tokens / seconds["padded"], "tok/s"),
        Row("against one by one", seconds["one by one"] / seconds["ours"], "x", 4, 10),
        Row("against a padded batch", seconds["padded"] / seconds["ours"], "x", 1.2, 2),
        Row("answers equal to one by one's", num_equal, "", args.requests, args.requests),
    ]
    title = f"Engine on CPU, {args.requests} requests at once, {args.threads} thread(s)"
    return 0 if show(title, rows) else 1


if __name__ == "__main__":
    sys.exit(main())
