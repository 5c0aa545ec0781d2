"""Runs foreign code on trial: before it serves, it shows what it must not do.

Its attention is replaced by one in which each token sees itself alone, so neither pool nor plan is
needed. Knows nothing of what the model computes.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from legato.engine.errors import ConfigError
from legato.engine.models.general_attention import LayerCall
from legato.engine.models.general_parts import ModelParts

_NUM_TOKENS = 4
# Of a row's norm, what may differ by rounding: products of other sizes may add in another order.
_ROUNDING = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.05}


@contextmanager
def trial(description: str) -> Iterator[None]:
    """Foreign code that runs for the first time: what it raises becomes a ConfigError."""
    try:
        with torch.inference_mode():
            yield
    except ConfigError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ConfigError(f"{description} of its code failed: {reason}") from error


class OwnValues:
    """Attention in which each token sees itself alone; keeps the queries and keys of a run."""

    def __init__(self) -> None:
        self.placed: list[torch.Tensor] = []  # each [tokens, numbers]

    def attend(self, call: LayerCall) -> torch.Tensor:
        self.placed += (heads[0].transpose(0, 1).flatten(1) for heads in (call.query, call.key))
        group_size = call.query.shape[1] // call.value.shape[1]
        return call.value.repeat_interleave(group_size, dim=1).transpose(1, 2).contiguous()


def check_batches(parts: ModelParts) -> None:
    """Raises ConfigError if tokens of several sequences cannot stand one behind the other."""
    with trial("a run"):
        _check_rows_are_apart(parts)
        _check_positions_are_heeded(parts)


def _check_rows_are_apart(parts: ModelParts) -> None:
    """No token may change another elsewhere than in the attention."""
    positions = torch.arange(_NUM_TOKENS, device=parts.device)
    tokens = positions + 1  # all different, and none of them padding
    changed = tokens.clone()
    changed[0] += _NUM_TOKENS
    one, other = (
        parts.hidden(token_ids, positions, OwnValues())[1:] for token_ids in (tokens, changed)
    )
    if _differ(one, other, parts.dtype):
        raise ConfigError(
            "its tokens change each other outside of its attention, by a convolution or a state"
        )


def _check_positions_are_heeded(parts: ModelParts) -> None:
    """A token's place in the batch must not matter: its position is told."""
    ones = torch.ones(_NUM_TOKENS, dtype=torch.int64, device=parts.device)
    attention = OwnValues()
    parts.hidden(ones, ones, attention)
    if any(_differ(rows, rows[:1].expand_as(rows), parts.dtype) for rows in attention.placed):
        raise ConfigError("it places tokens by their order, not by the positions that it is told")


def _differ(rows: torch.Tensor, others: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether a row differs by more than `dtype` rounds; both [rows, numbers]."""
    differences = (rows - others).float().norm(dim=1)
    return bool((differences > _ROUNDING[dtype] * others.float().norm(dim=1)).any())


def runs_ahead(parts: ModelParts) -> bool:
    """Whether the code only launches work on a GPU and never waits for it: graphs can hold that.

    Whatever reads a value back, or copies one there from memory that is not pinned, waits.
    """
    if parts.device.type != "cuda":
        return False
    positions = torch.arange(_NUM_TOKENS, device=parts.device)
    try:
        with torch.inference_mode(), _no_waiting():
            parts.logits(parts.hidden(positions, positions, OwnValues()))
    except RuntimeError:
        return False
    return True


@contextmanager
def _no_waiting() -> Iterator[None]:
    """Within, it is a RuntimeError to wait for a GPU."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that not all of torch's parts are covered
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
