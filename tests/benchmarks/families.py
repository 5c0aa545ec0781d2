"""Models of several families on one GPU: time between tokens and to the first one, as shares of
what the machine could do.

Real shapes, random weights, random prompts, greedy, no prefix cache.
  ITL at batch b: (time for b prompts to 130 tokens each - the same to 2 tokens) / 128; its share is
      of reading every weight that is needed and the KV cache once. Of experts, those that tokens
      would choose if they chose evenly.
  TTFT: a prompt alone on an idle engine; its share is of all products at the speed of large ones
"""

import argparse
import math
import random
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from legato.engine.llm import LLM
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.parameter import Parameter
from legato.engine.models.parameters import decoder_parameters
from legato.tests.benchmarks.engine import seconds_to
from legato.tests.benchmarks.kernel_case import READ_BYTES_PER_S
from legato.tests.benchmarks.model_shapes import SHAPES, write_config
from legato.tests.benchmarks.report import Row, show
from legato.tests.checkpoints import edit_json

FLOP_PER_S = 657e12  # of a large product in bfloat16, measured: docs/benchmarks.md
VALUE_BYTES = 2
BATCHES = (1, 32, 128)
PROMPT, TTFT_PROMPT = 512, 2048
NUM_TOKENS = 130


@dataclass(frozen=True, slots=True)
class Limits:
    """What steps of a model have to read and to compute at least."""

    config: ModelConfig

    def decode_s(self, batch: int, context: int) -> float:
        config, moe = self.config, self.config.moe
        share = 1.0  # of the experts
        if moe is not None:
            share -= (1 - moe.routing.top_k / moe.num_experts) ** batch
        values = sum(self._size(p, share) for p in self._matrices())
        for layer in config.layers:
            seen = min(context, layer.params.window or context)
            parts = 2 if config.latent is None else 1  # keys and values, or what is both
            values += batch * seen * parts * config.num_kv_heads * config.head_dim
        return VALUE_BYTES * values / READ_BYTES_PER_S

    def prefill_s(self, num_tokens: int) -> float:
        config, moe = self.config, self.config.moe
        share = 1.0 if moe is None else moe.routing.top_k / moe.num_experts
        head = config.vocab_size * config.hidden_size  # of one token
        values = sum(self._size(p, share) for p in self._matrices())
        flop = 2 * num_tokens * (values - head)
        for layer in config.layers:
            seen = min(num_tokens / 2, layer.params.window or num_tokens)
            flop += 2 * num_tokens * seen * config.num_heads * self._attention_dims()
        return flop / FLOP_PER_S

    def _attention_dims(self) -> int:
        """Of a head's key and value, as small as they can be."""
        latent = self.config.latent
        return 2 * self.config.head_dim if latent is None else latent.key_dim + latent.value_dim

    def _matrices(self) -> list[Parameter]:
        """All but embeddings, of which few rows are read; a tied one is the head."""
        is_tied = self.config.has_tied_embeddings
        return [p for p in decoder_parameters(self.config) if is_tied or p.name != "embedding"]

    @staticmethod
    def _size(parameter: Parameter, share_of_experts: float) -> float:
        is_of_experts = parameter.num_stacked is not None or parameter.conversion is not None
        return math.prod(parameter.shape) * (share_of_experts if is_of_experts else 1)


def measure(llm: LLM, limits: Limits, rounds: int) -> list[Row]:
    rng, vocabulary = random.Random(1), limits.config.vocab_size

    def prompts(count: int, length: int) -> list[list[int]]:
        return [[rng.randrange(vocabulary) for _ in range(length)] for _ in range(count)]

    rows = []
    for batch in BATCHES:
        figures = []
        seconds_to(llm, prompts(batch, PROMPT), [2] * batch)
        for _ in range(rounds):
            asked = prompts(batch, PROMPT)
            short = seconds_to(llm, asked, [2] * batch)
            figures.append((seconds_to(llm, asked, [NUM_TOKENS] * batch) - short) / 128)
        seconds = statistics.median(figures)
        rows += _rows(f"ITL b={batch}", seconds, limits.decode_s(batch, PROMPT + 66))
    times = [seconds_to(llm, prompts(1, TTFT_PROMPT), [1]) for _ in range(rounds + 3)]
    rows += _rows("TTFT 2k", statistics.median(times[1:]), limits.prefill_s(TTFT_PROMPT))
    return rows


def _rows(name: str, seconds: float, limit_s: float) -> list[Row]:
    return [
        Row(name, 1000 * seconds, "ms", higher_is_better=False),
        Row(f"{name}, share of the limit", 100 * limit_s / seconds, "%"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SHAPES, default="qwen3-30b-a3b")
    parser.add_argument(
        "--general", action="store_true", help="by transformers' code instead of the decoder"
    )
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = write_config(Path(folder), SHAPES[args.model])
        limits = Limits(ModelConfig.load(directory))
        if args.general:
            edit_json(directory / "config.json", architectures=None)
        llm = LLM(
            model=str(directory),
            load_format="dummy",
            skip_tokenizer_init=True,
            max_model_len=4096,
            max_num_seqs=max(BATCHES),
            enable_prefix_caching=False,
        )
    rows = measure(llm, limits, args.rounds)
    code = ", by transformers' code" if args.general else ""
    title = f"Engine, {args.model}'s shape{code}, in bfloat16, {torch.cuda.get_device_name()}"
    return 0 if show(title, rows) else 1


if __name__ == "__main__":
    sys.exit(main())
