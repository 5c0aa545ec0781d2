"""Greedy answers of a model to the exams' items, judged; and the perplexity of a held-out text.

Decoding recomputes the whole batch for each token: slow by token, but short to write, and on a GPU
an exam of hundreds of items takes seconds.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from legato.training.chat import ASSISTANT_HEADER, DOCUMENT_END, TURN_END, render
from legato.training.model import Llama
from legato.training.packing import TOKEN_BITS, TOKEN_MASK, make_shard
from legato.training.skills.exam import Exam, Item
from legato.training.skills.stories import story
from legato.training.split import Split
from legato.training.tokens import token_id

ROWS_AT_ONCE = 200
NUM_SHOWN = 12  # wrong answers kept of an exam
AGREEMENT_ROWS = 50


@dataclass(frozen=True, slots=True)
class Result:
    """One exam's outcome; `wrong` holds some of the wrong answers."""

    name: str
    num_items: int
    share_right: float
    threshold: float
    wrong: tuple[dict[str, str], ...]

    @property
    def passed(self) -> bool:
        """Whether the share of right answers reaches the threshold."""
        return self.share_right >= self.threshold

    def record(self) -> dict[str, object]:
        """The result for eval.json."""
        return asdict(self) | {"passed": self.passed}


def prompt_text(item: Item) -> str:
    """The prompt as the chat template renders it, ready for the answer."""
    return render(item.messages, item.tools) + ASSISTANT_HEADER


def examine(model: Llama, tokenizer: Tokenizer, exam: Exam) -> Result:
    """The model's result in one exam."""
    longest = model.shape.context - exam.max_tokens
    items, prompts = _fitting(exam, tokenizer, longest)
    ends = tuple(token_id(tokenizer, token) for token in (TURN_END, DOCUMENT_END))
    answers: list[str] = []
    for start in range(0, len(items), ROWS_AT_ONCE):
        batch = prompts[start : start + ROWS_AT_ONCE]
        answers += tokenizer.decode_batch(greedy(model, batch, exam.max_tokens, ends))
    wrong = [
        {"prompt": prompt_text(item)[-600:], "answer": answer, "wanted": item.wanted.answer}
        for item, answer in zip(items, answers, strict=True)
        if not exam.right(answer, item.wanted)
    ]
    share = 1.0 - len(wrong) / len(items)
    return Result(exam.name, len(items), share, exam.threshold, tuple(wrong[:NUM_SHOWN]))


def _fitting(exam: Exam, tokenizer: Tokenizer, longest: int) -> tuple[list[Item], list[list[int]]]:
    """The exam's first items whose prompts have at most `longest` tokens, with those tokens."""
    items: list[Item] = []
    prompts: list[list[int]] = []
    for item in exam.items():
        ids = tokenizer.encode(prompt_text(item)).ids
        if len(ids) <= longest:
            items.append(item)
            prompts.append(ids)
        if len(items) == exam.num_items:
            break
    return items, prompts


@torch.inference_mode()
def greedy(
    model: Llama, prompts: Sequence[list[int]], max_tokens: int, ends: tuple[int, ...]
) -> list[list[int]]:
    """The most likely continuation of each prompt, without the token of `ends` that stops it."""
    context = model.shape.context
    device = model.cos.device
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    width = min(context, int(lengths.max()) + max_tokens)
    ids = torch.zeros(len(prompts), width, dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        kept = torch.tensor(prompt[:width])
        ids[row, : len(kept)] = kept.to(device)
    stops = torch.tensor(ends, device=device)
    ends_at = lengths.clone()
    rows = torch.arange(len(prompts), device=device)
    going = rows[lengths < width]
    for _ in range(max_tokens):
        if not len(going):
            break
        seen = int(ends_at[going].max())
        following = _most_likely(model, ids[going, :seen], ends_at[going] - 1)
        kept = ~torch.isin(following, stops)
        going, following = going[kept], following[kept]
        ids[going, ends_at[going]] = following
        ends_at[going] += 1
        going = going[ends_at[going] < width]
    return [
        ids[row, len(prompt) : int(ends_at[row])].tolist() for row, prompt in enumerate(prompts)
    ]


def _most_likely(model: Llama, ids: Tensor, last: Tensor) -> Tensor:
    """The most likely token after position `last` of each row; what lies behind has no effect."""
    hidden = model.hidden(ids)
    return model.logits(hidden[torch.arange(len(ids), device=ids.device), last]).argmax(-1)


def held_out_text(num_stories: int = 24) -> str:
    """The fixed text whose perplexity is pinned: stories with a held-out cast, one a line."""
    rng = random.Random("held-out text")
    return "\n".join(story(rng, Split.HELD_OUT).text for _ in range(num_stories)) + "\n"


@torch.inference_mode()
def agreement(model: Llama, draft: Llama, tokenizer: Tokenizer) -> float:
    """How often the draft's most likely token is the model's, on held-out documents' answers."""
    shard = make_shard(tokenizer, number=0, split=Split.HELD_OUT)[:AGREEMENT_ROWS].astype(np.int64)
    ids = torch.from_numpy(shard & TOKEN_MASK).to(model.cos.device)
    learned = torch.from_numpy(shard[:, 1:] >> TOKEN_BITS > 0).to(model.cos.device)
    same = model(ids).argmax(-1)[:, :-1] == draft(ids).argmax(-1)[:, :-1]
    return float(same[learned].float().mean())


@torch.inference_mode()
def perplexity(model: Llama, tokenizer: Tokenizer, text: str) -> float:
    """Perplexity per token of the lines of `text`, each alone, after the document-end token."""
    start = token_id(tokenizer, DOCUMENT_END)
    total, num_tokens = 0.0, 0
    for line in text.splitlines():
        ids = torch.tensor([[start, *tokenizer.encode(line).ids]], device=model.cos.device)
        logits = model(ids[:, :-1]).float()
        total += float(F.cross_entropy(logits[0], ids[0, 1:], reduction="sum"))
        num_tokens += ids.shape[1] - 1
    return math.exp(total / num_tokens)
