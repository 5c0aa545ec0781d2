"""Training of the model and of its draft, both on the same batches, for a given time.

The model learns the next token. The draft, which speculative decoding will let guess what the model
says, learns half from the text and half from the model's own probabilities.

    rate of learning over the time     ____________________
                                      /                    \\___   warm up, hold, fall to zero
                                     0   2 %             50 %   100 %

Matrices are trained with Muon, the embedding and the norms with AdamW.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from legato.training.data import Batch
from legato.training.model import Llama


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long to train, and how fast."""

    seconds: float
    matrix_rate: float = 0.004
    other_rate: float = 0.004
    weight_decay: float = 0.05
    warm_up: float = 0.02
    hold_until: float = 0.5
    compiled: bool = True
    report_every: int = 200


class Optimizer:
    """Muon for a model's matrices, AdamW for the rest, under one schedule."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        named = list(model.named_parameters())
        matrices = [weight for name, weight in named if weight.ndim == 2 and "embed" not in name]
        others = [weight for name, weight in named if weight.ndim != 2 or "embed" in name]
        self._muon = torch.optim.Muon(
            matrices,
            lr=recipe.matrix_rate,
            weight_decay=recipe.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        self._adam = torch.optim.AdamW(
            others, lr=recipe.other_rate, betas=(0.9, 0.95), weight_decay=0.0
        )
        self._weights = [weight for _, weight in named]
        self._rates = (recipe.matrix_rate, recipe.other_rate)

    def step(self, scale: float) -> None:
        """One step at `scale` times the full rates; clears the gradients."""
        nn.utils.clip_grad_norm_(self._weights, 1.0)
        for optimizer, rate in zip((self._muon, self._adam), self._rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def schedule(progress: float, recipe: Recipe) -> float:
    """The share of the full rate at `progress`, from 0 to 1, of the time."""
    if progress < recipe.warm_up:
        return progress / recipe.warm_up
    left = (1.0 - progress) / (1.0 - recipe.hold_until)
    return max(0.0, min(1.0, left))


def text_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross entropy. logits: [..., vocabulary]; targets, weights: [...]."""
    each = F.cross_entropy(logits.flatten(0, -2).float(), targets.flatten(), reduction="none")
    return _mean(each, weights.flatten())


def draft_loss(logits: Tensor, model_logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Half the text's loss, half the cross entropy to the model's probabilities."""
    wanted = model_logits.detach().float().softmax(-1)
    each = -(wanted * logits.float().log_softmax(-1)).sum(-1)
    return 0.5 * text_loss(logits, targets, weights) + 0.5 * _mean(each, weights)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1)


def train(
    model: Llama,
    draft: Llama,
    batches: Iterator[Batch],
    recipe: Recipe,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Trains both for `recipe.seconds` of `clock`, counted from the first step after compilation.

    Returns: the lines of the training's log.
    """

    def both_losses(ids: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(ids)
        guessed = draft_loss(draft(ids), logits, targets, weights)
        return text_loss(logits, targets, weights), guessed

    losses_of = torch.compile(both_losses, dynamic=False) if recipe.compiled else both_losses
    optimizers = [Optimizer(each, recipe) for each in (model, draft)]
    device = next(model.parameters()).device
    log: list[str] = []
    start, step, num_tokens, progress = clock(), 0, 0, 0.0
    while progress < 1.0:
        ids, targets, weights = next(batches)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            losses = losses_of(ids, targets, weights)
        torch.autograd.backward(losses)
        for optimizer in optimizers:
            optimizer.step(schedule(progress, recipe))
        step, num_tokens = step + 1, num_tokens + ids.numel()
        if step <= _COMPILING_STEPS:
            start = clock()
        spent = clock() - start
        progress = spent / recipe.seconds
        if step % recipe.report_every == 0 or step == 1:
            text, guessed = (loss.item() for loss in losses)
            log.append(f"step {step} {num_tokens / 1e6:.0f}M tokens {spent:.0f} s")
            log[-1] += f" loss {text:.4f} draft {guessed:.4f}"
            print(log[-1], flush=True)
    return log


_COMPILING_STEPS = 10  # long enough to meet both row lengths; they do not count as time
