from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from legato.engine.errors import ConfigError
from legato.engine.models.general_attention import PAGED, register
from legato.engine.models.general_parts import ModelParts
from legato.engine.models.general_trial import check_batches, runs_ahead, trial
from legato.tests.checkpoints import load_reference
from legato.tests.general_traps import GENERAL_TRAPS


class Behind(nn.Module):
    """A module, and something that is done with what it gives."""

    def __init__(self, module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.module = module
        self.change = change

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.change(self.module(hidden))


def in_order(_module: nn.Module, args: Any, options: Any) -> tuple[Any, Any]:
    """As if the model had counted tokens itself."""
    return args, options | {"position_ids": torch.arange(4)[None]}


@pytest.fixture
def model(tmp_path: Path) -> PreTrainedModel:
    register()
    model = load_reference(GENERAL_TRAPS["olmo2"].make(tmp_path))
    model.set_attn_implementation(PAGED)
    return model


def wrap(model: PreTrainedModel, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    layer = model.model.layers[1]
    layer.mlp = Behind(layer.mlp, change)


def test_tokens_that_meet_in_the_attention_alone_pass(model: PreTrainedModel) -> None:
    check_batches(ModelParts.of(model))


@pytest.mark.parametrize(
    "change", [lambda x: x + 0.1 * x.roll(1, dims=1), lambda x: x.cumsum(1), lambda x: x.mean(1)]
)
def test_a_convolution_or_a_state_is_noticed(
    model: PreTrainedModel, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    wrap(model, change)
    with pytest.raises(ConfigError, match="by a convolution or a state"):
        check_batches(ModelParts.of(model))


def test_positions_that_are_not_heeded_are_noticed(model: PreTrainedModel) -> None:
    rotary = model.model.rotary_emb
    rotary.register_forward_pre_hook(in_order, with_kwargs=True)
    with pytest.raises(ConfigError, match="it places tokens by their order"):
        check_batches(ModelParts.of(model))


def test_code_that_breaks_is_a_model_that_is_not_served(model: PreTrainedModel) -> None:
    wrap(model, nn.Linear(7, 7))
    with pytest.raises(ConfigError, match="a run of its code failed: mat1 and mat2"):
        check_batches(ModelParts.of(model))


def test_what_foreign_code_raises_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^a try of its code failed: first$"), trial("a try"):
        raise ValueError("first\nsecond")
    with pytest.raises(ConfigError, match="a try of its code failed: KeyError"), trial("a try"):
        raise KeyError
    with trial("a try"):
        assert not nn.Linear(2, 2)(torch.zeros(2)).requires_grad


def test_there_is_nothing_to_run_ahead_of_on_a_cpu(model: PreTrainedModel) -> None:
    assert not runs_ahead(ModelParts.of(model))


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x, True),
        (lambda x: x * x.max().item(), False),
        (lambda x: x[x.sum(2) > 0], False),
        (lambda x: x * torch.tensor([2.0], device="cuda"), False),
    ],
)
def test_code_that_waits_for_the_gpu_is_caught(
    model: PreTrainedModel, change: Callable[[torch.Tensor], torch.Tensor], expected: bool
) -> None:
    nn.Module.cuda(model)
    wrap(model, change)
    parts = ModelParts.of(model)
    if expected:  # what is done for the first time may wait
        check_batches(parts)
    assert runs_ahead(parts) is expected
