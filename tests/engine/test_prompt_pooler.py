"""Vectors of prompts are made of transformers' hidden states, however prompts are computed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from legato.engine import model_runner
from legato.engine.batch import SequenceRequest
from legato.engine.llm import LLM
from legato.engine.sampling_params import Pooling, SamplingParams
from legato.tests.checkpoints import load_reference, make_checkpoint
from legato.tests.engine.batches import random_tokens

PLAIN = SamplingParams(temperature=0, max_tokens=20, ignore_eos=True)
PROMPTS = [random_tokens(length, length) for length in (1, 2, 70, 33)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("qwen3"), "qwen3")


@pytest.fixture(scope="module")
def states(directory: Path) -> list[torch.Tensor]:
    """[tokens, hidden] of each prompt behind the last norm, by transformers."""
    reference = load_reference(directory)
    with torch.inference_mode():
        return [reference.model(torch.tensor([prompt]))[0][0] for prompt in PROMPTS]


def embeddings(llm: LLM, pooling: Pooling) -> list[torch.Tensor]:
    params = SamplingParams(temperature=0, max_tokens=1, pooling=pooling)
    requests = [SequenceRequest(tuple(prompt), params, 1) for prompt in PROMPTS]
    llm.core.add(SequenceRequest(tuple(PROMPTS[2]), PLAIN, 1))  # a neighbour
    ids = [llm.core.add(request) for request in requests]
    found = {}
    while llm.core.has_work():
        for output in llm.core.step().outputs:
            if output.embedding:
                found[output.seq_id] = np.frombuffer(output.embedding, "<f4")
    return [torch.from_numpy(found[seq_id].copy()) for seq_id in ids]


@pytest.mark.parametrize("pooling", list(Pooling))
@pytest.mark.parametrize(
    ("options", "pipeline_depth"),
    [({}, 1), ({"max_num_batched_tokens": 16}, 2)],
    ids=["whole", "chunks, two steps under way"],
)
def test_they_are_of_transformers_hidden_states(
    directory: Path,
    states: list[torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    pooling: Pooling,
    options: dict[str, Any],
    pipeline_depth: int,
) -> None:
    monkeypatch.setitem(model_runner._PIPELINE_DEPTH, "cpu", pipeline_depth)
    sizes = {"block_size": 8, "num_gpu_blocks_override": 64, "skip_tokenizer_init": True}
    llm = LLM(str(directory), device="cpu", dtype="float32", **(sizes | options))
    for _ in range(2):  # the second time all of it would be in the prefix cache
        for vector, rows in zip(embeddings(llm, pooling), states, strict=True):
            wanted = rows[-1] if pooling is Pooling.LAST else rows.mean(dim=0)
            torch.testing.assert_close(vector, wanted, atol=1e-4, rtol=0)


def test_a_last_token_uses_the_prefix_cache_and_a_mean_does_not(directory: Path) -> None:
    sizes = {"block_size": 8, "num_gpu_blocks_override": 64, "skip_tokenizer_init": True}
    llm = LLM(str(directory), device="cpu", dtype="float32", **sizes)
    for pooling, num_cached in ((None, 0), (Pooling.LAST, 64), (Pooling.MEAN, 0)):
        params = SamplingParams(temperature=0, max_tokens=1, pooling=pooling)
        (output,) = llm.generate(PROMPTS[2], params, use_tqdm=False)
        assert output.num_cached_tokens == num_cached
