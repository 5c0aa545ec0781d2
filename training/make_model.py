"""Makes the built-in model and its draft: data, tokenizer, training, export, evaluation, cards.

    python -m legato.training.make_model --out DIR --device cuda --minutes 5

writes legato-tiny, legato-tiny-draft, heldout.txt, eval.json and training.log into DIR.
Run it from the root of the repository with PYTHONPATH=.types, `.types/legato` being a link to the
root. `--minutes` is the training's own time; all else takes about three more. With `--smoke` few
documents and items pass through all steps, for a CPU.
"""

import argparse
import json
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from legato.training.card import Figures, draft_card, model_card, table
from legato.training.chat import TURN_END, TURN_START
from legato.training.data import ShardStream, batches
from legato.training.evaluate import Result, agreement, examine, held_out_text, perplexity
from legato.training.export import disagreements, round_to_bfloat16, write_model
from legato.training.model import Llama, Shape, num_parameters
from legato.training.packing import SHARD_TOKENS, document_text
from legato.training.skills.exam import EXAMS, Item
from legato.training.skills.mix import document
from legato.training.split import Split
from legato.training.tokens import VOCAB_SIZE, train_tokenizer
from legato.training.trainer import Recipe, train

MODEL = Shape(VOCAB_SIZE, 256, 768, num_layers=8, num_heads=4, num_kv_heads=2)
DRAFT = Shape(VOCAB_SIZE, 128, 320, num_layers=4, num_heads=2, num_kv_heads=1)
MODEL_NAME, DRAFT_NAME = "legato-tiny", "legato-tiny-draft"
_ALWAYS_SHOWN = ("tool call",)  # exams whose misses are printed even where enough is right


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of one run."""

    recipe: Recipe
    batch_tokens: int
    num_workers: int
    tokenizer_documents: int
    items_per_exam: int | None  # None: as many as each exam says
    model: Shape = MODEL
    draft: Shape = DRAFT


def make_tokenizer(num_documents: int) -> Tokenizer:
    """The tokenizer, from documents of the training side."""
    rng = random.Random("tokenizer")
    return train_tokenizer(document_text(document(rng, Split.TRAIN)) for _ in range(num_documents))


def make(out: Path, device: torch.device, plan: Plan) -> tuple[Result, ...]:
    """The whole run; returns the evaluation's results."""
    clock = _Clock()
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    tokenizer = make_tokenizer(plan.tokenizer_documents)
    clock.say("tokenizer made")
    model, draft = Llama(plan.model).to(device), Llama(plan.draft).to(device)
    with ShardStream(tokenizer, plan.num_workers) as stream:
        log = train(model, draft, batches(stream, plan.batch_tokens, device), plan.recipe)
        log.append(f"{stream.num_fresh} shards, {stream.num_reused} uses of a shard seen before")
        num_tokens = (stream.num_fresh + stream.num_reused) * SHARD_TOKENS
    clock.say(f"trained: {log[-1]}")
    for each, name in ((model, MODEL_NAME), (draft, DRAFT_NAME)):
        round_to_bfloat16(each.eval())
        write_model(each, tokenizer, out / name)
    results = _examine_all(model, tokenizer, plan.items_per_exam)
    clock.say("examined")
    figures = Figures(
        plan.model, num_parameters(model), num_tokens, results,
        perplexity(model, tokenizer, held_out_text()), agreement(model, draft, tokenizer),
    )  # fmt: skip
    _write_reports(out, figures, draft, log)
    torch.set_float32_matmul_precision("highest")
    differing = disagreements(model, out / MODEL_NAME, _some_items())
    clock.say(f"prompts that transformers answers otherwise: {len(differing)}")
    print(f"perplexity {figures.perplexity:.4f} draft agreement {figures.draft_agreement:.4f}")
    return results


def _examine_all(model: Llama, tokenizer: Tokenizer, num_items: int | None) -> tuple[Result, ...]:
    exams = EXAMS if num_items is None else [replace(exam, num_items=num_items) for exam in EXAMS]
    return tuple(examine(model, tokenizer, exam) for exam in exams)


def _some_items() -> list[Item]:
    """Two items of each exam whose prompts are short."""
    return [next(items) for exam in EXAMS if "12" not in exam.name for items in [exam.items()] * 2]


def _write_reports(out: Path, figures: Figures, draft: Llama, log: list[str]) -> None:
    (out / "heldout.txt").write_text(held_out_text())
    (out / "training.log").write_text("\n".join(log) + "\n")
    (out / MODEL_NAME / "README.md").write_text(model_card(figures))
    card = draft_card(draft.shape, num_parameters(draft), figures)
    (out / DRAFT_NAME / "README.md").write_text(card)
    report = {
        "perplexity": figures.perplexity,
        "draft_agreement": figures.draft_agreement,
        "tokens_trained": figures.num_tokens_trained,
        "results": [result.record() for result in figures.results],
    }
    (out / "eval.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def misses(result: Result) -> str:
    """Some of an exam's wrong answers, each with the end of its prompt and what was wanted."""
    lines = [f"\n{result.name}: {result.share_right:.1%} right; some that are not"]
    for wrong in result.wrong:
        asked = wrong["prompt"].rpartition(f"{TURN_START}user\n")[2].partition(TURN_END)[0]
        lines += [f"  asked  {asked!r}", f"  wanted {wrong['wanted']!r}"]
        lines.append(f"  got    {wrong['answer']!r}")
    return "\n".join(lines)


class _Clock:
    """Says what is done, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, what: str) -> None:
        print(f"[{time.monotonic() - self._start:.0f} s] {what}", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--minutes", type=float, default=5.0, help="time of the training itself")
    parser.add_argument("--workers", type=int, default=14, help="processes that make the data")
    parser.add_argument("--no-compile", action="store_true", help="train without torch.compile")
    parser.add_argument("--smoke", action="store_true", help="few documents, few items")
    options = parser.parse_args()
    recipe = Recipe(options.minutes * 60, compiled=not options.no_compile)
    plan = Plan(recipe, 1 << 17, options.workers, 20_000, None)
    if options.smoke:
        plan = Plan(replace(recipe, report_every=2), 1 << 12, options.workers, 500, 2)
    results = make(options.out, torch.device(options.device), plan)
    print(table(results))
    for result in results:
        if result.wrong and (not result.passed or result.name in _ALWAYS_SHOWN):
            print(misses(result))


if __name__ == "__main__":
    main()
