"""The engine at saturation for minutes: random lengths, sampling settings and cancels.

Every so often a known greedy request goes in; its answer must be the one it got alone. Looked for:
blocks that do not come back, memory that grows, steps that get slower, answers that change.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import torch

from legato.engine.batch import SequenceRequest
from legato.engine.core import EngineCore
from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.tests.benchmarks.engine import random_prompts
from legato.tests.benchmarks.engine_checks import MODEL
from legato.tests.benchmarks.model_shapes import LLAMA_8B, write_config
from legato.tests.benchmarks.report import Row, show

NUM_KNOWN = 8
KNOWN = SamplingParams(temperature=0, max_tokens=64, ignore_eos=True)
CANCEL_SHARE = 0.2
KNOWN_SHARE = 0.05


@dataclass(slots=True)
class Soak:
    """One run's bookkeeping, by sequence."""

    known_prompts: list[list[int]]
    known_answers: list[list[int]]
    rng: random.Random
    vocabulary: int
    max_prompt: int
    expected: dict[int, int] = field(default_factory=dict)  # which known prompt
    answers: dict[int, list[int]] = field(default_factory=dict)
    cancels: dict[int, int] = field(default_factory=dict)  # after how many tokens
    num_finished: int = 0
    num_cancelled: int = 0
    num_tokens: int = 0
    num_known: int = 0
    num_equal: int = 0
    num_first_equal: int = 0

    def add(self, core: EngineCore) -> None:
        """Sends one more request."""
        if self.rng.random() < KNOWN_SHARE:
            which = self.rng.randrange(len(self.known_prompts))
            seq_id = core.add(SequenceRequest(tuple(self.known_prompts[which]), KNOWN, 0))
            self.expected[seq_id] = which
        else:
            length = self.rng.randint(1, self.max_prompt)
            prompt = [self.rng.randrange(self.vocabulary) for _ in range(length)]
            params = self._random_params()
            seq_id = core.add(SequenceRequest(tuple(prompt), params, self.rng.getrandbits(60)))
            if self.rng.random() < CANCEL_SHARE:
                self.cancels[seq_id] = self.rng.randint(0, params.max_tokens or 1)
        self.answers[seq_id] = []

    def _random_params(self) -> SamplingParams:
        rng = self.rng
        return SamplingParams(
            temperature=rng.choice([0, 0.3, 0.8, 1.2]),
            top_p=rng.choice([1.0, 0.95, 0.5]),
            top_k=rng.choice([0, 0, 20, 200]),
            min_p=rng.choice([0, 0, 0.05]),
            presence_penalty=rng.choice([0, 0, 0.5]),
            repetition_penalty=rng.choice([1.0, 1.0, 1.1]),
            logit_bias=rng.choice([{}, {}, {5: 1.5}]),
            logprobs=rng.choice([None] * 9 + [3]),
            max_tokens=rng.randint(1, 1024),
            ignore_eos=rng.random() < 0.7,
        )

    def step(self, core: EngineCore) -> None:
        """One step, and what follows from it."""
        for output in core.step().outputs:
            answer = self.answers[output.seq_id]
            answer += output.token_ids
            self.num_tokens += len(output.token_ids)
            if output.finish_reason is not None:
                self._finish(output.seq_id)
            elif len(answer) >= self.cancels.get(output.seq_id, 1 << 30):
                core.abort(output.seq_id)
                self.num_cancelled += 1
                self._forget(output.seq_id)

    def _finish(self, seq_id: int) -> None:
        self.num_finished += 1
        if seq_id in self.expected:
            wanted, found = self.known_answers[self.expected[seq_id]], self.answers[seq_id]
            self.num_known += 1
            self.num_equal += found == wanted
            self.num_first_equal += found[0] == wanted[0]
        self._forget(seq_id)

    def _forget(self, seq_id: int) -> None:
        del self.answers[seq_id]
        self.expected.pop(seq_id, None)
        self.cancels.pop(seq_id, None)


def run(llm: LLM, args: argparse.Namespace, vocabulary: int) -> list[Row]:
    rng = random.Random(args.seed)
    known = [p[: rng.randint(5, 300)] for p in random_prompts(rng, [300] * NUM_KNOWN)]
    known = [[token % vocabulary for token in prompt] for prompt in known]
    alone = [llm.generate([p], KNOWN, use_tqdm=False)[0].outputs[0].token_ids for p in known]
    soak = Soak(known, [list(a) for a in alone], rng, vocabulary, args.max_prompt)
    core, ends, rates = llm.core, time.monotonic() + args.seconds, deque[float]()
    memory: list[int] = []
    while time.monotonic() < ends:
        window_end = min(ends, time.monotonic() + args.seconds / 10)
        started, before = time.monotonic(), soak.num_tokens
        while time.monotonic() < window_end:
            while len(soak.answers) < args.saturation:
                soak.add(core)
            soak.step(core)
        rates.append((soak.num_tokens - before) / (time.monotonic() - started))
        memory.append(torch.cuda.memory_reserved())
        print(f"{rates[-1]:,.0f} tok/s, {memory[-1] / 2**30:.2f} GiB", flush=True)
    for seq_id in list(soak.answers):
        core.abort(seq_id)
    while core.has_work():
        core.step()
    core.check_integrity()
    stats = core.stats()
    settled = list(rates)[1:]
    rate = settled[-1] / statistics.median(settled)
    equal, first_equal = (100 * n / soak.num_known for n in (soak.num_equal, soak.num_first_equal))
    # Random weights in bfloat16 leave ties that another batch size breaks otherwise.
    must = 100 if args.builtin else None
    return [
        Row("tokens", soak.num_tokens, ""),
        Row("requests finished", soak.num_finished, ""),
        Row("requests cancelled", soak.num_cancelled, ""),
        Row("preemptions", stats.totals.preemptions, ""),
        Row("blocks leaked", stats.num_total_blocks - stats.num_free_blocks, "", 0, 0, False),
        Row("GPU memory grown", (memory[-1] - memory[1]) / 2**20, "MiB", 64, 0, False),
        Row("last window's rate over the median", rate, "x", 0.9, 1),
        Row("known greedy requests", soak.num_known, ""),
        Row("  equal to the last token to those alone", equal, "%", must, must),
        Row("  equal in the first token", first_equal, "%", must, must),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--saturation", type=int, default=600, help="requests there at any time")
    parser.add_argument("--max-num-seqs", type=int, default=512)
    parser.add_argument("--max-prompt", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--builtin", action="store_true", help="the built-in model in float32")
    args = parser.parse_args()
    shared = {"skip_tokenizer_init": True, "max_num_seqs": args.max_num_seqs}
    with tempfile.TemporaryDirectory() as folder:
        if args.builtin:
            llm = LLM(MODEL, dtype="float32", num_gpu_blocks_override=4096, **shared)
        else:
            directory = str(write_config(Path(folder), LLAMA_8B))
            llm = LLM(directory, load_format="dummy", max_model_len=8192, **shared)
    rows = run(llm, args, vocabulary=2000 if args.builtin else 100_000)
    model = "built-in model, float32" if args.builtin else "Llama-8B's shape"
    return 0 if show(f"Soak of {args.seconds:.0f} s, {model}", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
