"""The model for training: its sizes, its order of time, its agreement with transformers."""

from dataclasses import replace
from itertools import count, repeat
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from legato.training.evaluate import greedy
from legato.training.export import disagreements, round_to_bfloat16, write_model
from legato.training.make_model import DRAFT, MODEL
from legato.training.model import Llama, Shape, num_parameters
from legato.training.skills.exam import EXAMS
from legato.training.trainer import Recipe, draft_loss, schedule, text_loss, train

SMALL = Shape(2048, 64, 96, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=32)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize(("shape", "limit"), [(MODEL, 8_000_000), (DRAFT, 1_000_000)])
def test_a_model_keeps_its_limit_of_parameters(shape: Shape, limit: int) -> None:
    with torch.device("meta"):
        assert num_parameters(Llama(shape)) <= limit


def test_later_tokens_do_not_change_earlier_logits() -> None:
    model = Llama(SMALL)
    ids = torch.randint(0, SMALL.vocab_size, (1, 12))
    changed = ids.clone()
    changed[0, 8:] = 5

    assert torch.equal(model(ids)[0, :8], model(changed)[0, :8])


def test_greedy_answers_of_a_batch_are_those_of_each_prompt_alone() -> None:
    model = Llama(SMALL)
    prompts = [[5, 6, 7], [9], [3, 4, 5, 6, 7, 8]]

    together = greedy(model, prompts, 6, ends=(1,))

    assert together == [greedy(model, [prompt], 6, ends=(1,))[0] for prompt in prompts]


def test_transformers_reads_and_continues_an_exported_model(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = Llama(SMALL)
    round_to_bfloat16(model)

    write_model(model, tokenizer, tmp_path)

    items = [
        next(exam.items()) for exam in EXAMS if exam.max_tokens < 100 and "12" not in exam.name
    ]
    assert disagreements(model, tmp_path, items, max_tokens=4) == []


def test_training_lowers_the_loss_of_model_and_draft() -> None:
    model, draft = Llama(SMALL), Llama(replace(SMALL, num_layers=1))
    ids = torch.randint(10, 20, (4, 32))
    ids[:, 16:] = ids[:, :16]
    weights = torch.ones(4, 32)

    def losses() -> tuple[float, float]:
        with torch.no_grad():
            logits = model(ids)
            loss = text_loss(logits[:, :-1], ids[:, 1:], weights[:, 1:])
            guessed = draft_loss(draft(ids)[:, :-1], logits[:, :-1], ids[:, 1:], weights[:, 1:])
            return float(loss), float(guessed)

    before = losses()
    targets = torch.roll(ids, -1, dims=1)
    seconds = count()
    recipe = Recipe(seconds=60, compiled=False)
    train(model, draft, repeat((ids, targets, weights)), recipe, lambda: float(next(seconds)))

    assert all(after < start / 2 for after, start in zip(losses(), before, strict=True))


def test_a_target_without_weight_does_not_count() -> None:
    logits, targets = torch.randn(2, 3, 10), torch.randint(0, 10, (2, 3))
    weights = torch.tensor([[1.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    changed = torch.where(weights > 0, targets, 0)

    assert text_loss(logits, targets, weights) == text_loss(logits, changed, weights)
    assert draft_loss(logits, logits, targets, weights) == draft_loss(
        logits, logits, changed, weights
    )


def test_the_rate_rises_holds_and_falls_to_zero() -> None:
    recipe = Recipe(seconds=1.0)

    assert schedule(0.0, recipe) == 0.0
    assert schedule(0.3, recipe) == 1.0
    assert 0.0 < schedule(0.9, recipe) < schedule(0.7, recipe) < 1.0
    assert schedule(1.0, recipe) == 0.0
