"""Every checkpoint with all its traps gives what transformers gives, however it is run.

That is the decoder's families, and examples of what transformers' own code computes.
"""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from legato.engine.llm import LLM
from legato.engine.model_runner import ModelRunner
from legato.engine.models.families import FAMILIES
from legato.engine.sampling_params import SamplingParams
from legato.tests.checkpoints import greedy_tokens, load_reference
from legato.tests.engine.batches import build_runner, logits, part, random_tokens
from legato.tests.family_traps import TRAPS, load_trap_reference
from legato.tests.general_traps import GENERAL_TRAPS

BLOCK_SIZE = 8
NUM_NEW = 64
PROMPTS = [random_tokens(length, length) for length in (1, 17, 40)]
PROMPTS.append([*PROMPTS[-1][:33], 5, 6, 7])


@pytest.fixture(scope="module", params=[*TRAPS, *GENERAL_TRAPS])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    trap = (TRAPS | GENERAL_TRAPS)[request.param]
    return trap.make(tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def reference(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    return load_trap_reference(checkpoint, tmp_path_factory.mktemp("reference"))


@pytest.fixture
def runner(checkpoint: Path) -> ModelRunner:
    return build_runner(checkpoint, block_size=BLOCK_SIZE)


@torch.inference_mode()
def expected(reference: PreTrainedModel, *prompts: list[int]) -> torch.Tensor:
    """[prompts, vocab] logits after the last token of each."""
    return torch.stack([reference(torch.tensor([tokens])).logits[0, -1] for tokens in prompts])


def assert_close(actual: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(actual, wanted, atol=1e-4, rtol=0)


def test_there_is_a_checkpoint_of_every_family_with_traps() -> None:
    made = {trap.family for trap in TRAPS.values()}
    assert len(FAMILIES) == len(made | {"llama"})


def test_prefill_and_decode(runner: ModelRunner, reference: PreTrainedModel) -> None:
    tokens, blocks = random_tokens(60), list(range(8))
    for start, stop in ((0, 58), (58, 59), (59, 60)):
        actual = logits(runner, part(tokens, start, stop, blocks))
        assert_close(actual, expected(reference, tokens[:stop]))


@pytest.mark.parametrize("cuts", [(5, 6, 23), (8, 16, 24), (1, 9, 31)])
def test_a_prompt_in_chunks(
    runner: ModelRunner, reference: PreTrainedModel, cuts: tuple[int, ...]
) -> None:
    tokens, blocks = random_tokens(50), [9, 2, 30, 4, 11, 3, 7]
    for start, stop in zip((0, *cuts), (*cuts, 50), strict=True):
        actual = logits(runner, part(tokens, start, stop, blocks))
    assert_close(actual, expected(reference, tokens))


def test_a_mixed_batch_keeps_sequences_apart(
    runner: ModelRunner, reference: PreTrainedModel
) -> None:
    cuts = [(0, 20), (16, 17), (25, 40), (0, 1), (8, 9), (37, 38), (24, 33)]
    prompts = [random_tokens(stop, seed) for seed, (_, stop) in enumerate(cuts)]
    tables = [[8 * row + column for column in (3, 0, 5, 1, 2)] for row in range(len(cuts))]
    spans = [(*span, table) for span, table in zip(cuts, tables, strict=True)]
    known = zip(prompts, spans, strict=True)
    logits(runner, *(part(t, 0, start, table) for t, (start, _, table) in known if start))
    actual = logits(runner, *(part(t, *span) for t, span in zip(prompts, spans, strict=True)))
    assert_close(actual, expected(reference, *prompts))


def test_two_sequences_read_one_cached_prefix(
    runner: ModelRunner, reference: PreTrainedModel
) -> None:
    prefix = random_tokens(32)
    prompts = [prefix + random_tokens(6, 1), prefix + random_tokens(11, 2)]
    logits(runner, part(prompts[0], 0, 37, [6, 3, 1, 8, 9]))
    shared = logits(
        runner,
        part(prompts[0], 37, 38, [6, 3, 1, 8, 9]),
        part(prompts[1], 32, 43, [6, 3, 1, 8, 10, 11]),
    )
    assert_close(shared, expected(reference, *prompts))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_greedy_answers_in_chunks_and_with_prefix_hits(
    checkpoint: Path, reference: PreTrainedModel, device: str
) -> None:
    llm = LLM(
        str(checkpoint),
        device=device,
        dtype="float32",
        skip_tokenizer_init=True,
        num_gpu_blocks_override=64,
        max_model_len=112,
        max_num_seqs=4,
        max_num_batched_tokens=23,
        block_size=BLOCK_SIZE,
    )
    params = SamplingParams(temperature=0, max_tokens=NUM_NEW, ignore_eos=True)
    wanted = [greedy_tokens(reference, prompt, NUM_NEW) for prompt in PROMPTS]
    for _ in range(2):
        outputs = llm.generate(PROMPTS, params, use_tqdm=False)
        assert [output.outputs[0].token_ids for output in outputs] == wanted
    assert [output.num_cached_tokens for output in outputs] == [0, 16, 32, 32]


def test_bfloat16_stays_close_to_float32(checkpoint: Path, reference: PreTrainedModel) -> None:
    runner, tokens = build_runner(checkpoint, dtype="bfloat16"), random_tokens(60)
    actual = logits(runner, part(tokens, 0, 60, [0, 1, 2, 3]))
    wanted = expected(reference, tokens)
    assert torch.nn.functional.cosine_similarity(actual, wanted) > 0.99


@pytest.mark.parametrize("name", ["phi3", "granite"])
def test_a_longrope_turns_by_the_factors_of_the_longest_sequence(tmp_path: Path, name: str) -> None:
    checkpoint = (TRAPS | GENERAL_TRAPS)[name].make(tmp_path)
    reference, tokens = load_reference(checkpoint), random_tokens(33)
    short, long = build_runner(checkpoint, max_model_len=32), build_runner(checkpoint)
    assert_close(logits(short, part(tokens, 0, 32, [0, 1])), expected(reference, tokens[:32]))
    assert_close(logits(long, part(tokens, 0, 33, [0, 1, 2])), expected(reference, tokens))
