from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from legato.engine.errors import ConfigError
from legato.engine.models.general_attention import LayerCall, MaskFunction
from legato.engine.models.general_layers import LayerShape, read_params, read_shape
from legato.kernels.attention_params import AttentionParams

NUM_POSITIONS = 50

Sees = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def call(sees: Sees, **options: Any) -> LayerCall:
    """The call of a layer with 6 heads of 8 numbers, 2 of keys, and values of 4."""
    mask = MaskFunction(lambda _sequence, _head, query, key: sees(query, key))
    query, key, value = (torch.empty(1, *shape) for shape in ((6, 3, 8), (2, 3, 8), (2, 3, 4)))
    return LayerCall(nn.Identity(), query, key, value, mask, options)


def causal(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return key <= query


def windowed(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return (key <= query) & (key > query - 7)


def params(sees: Sees = causal, **options: Any) -> AttentionParams:
    return read_params(call(sees, **options), NUM_POSITIONS)


def test_heads_are_counted() -> None:
    assert read_shape(call(causal)) == LayerShape(6, 2, 8, 4)


def test_scale_softcap_and_window_are_read() -> None:
    options = {"scaling": 0.3, "softcap": 20.0, "dropout": 0.0, "s_aux": torch.zeros(6)}
    assert params(windowed, **options) == AttentionParams(0.3, 7, 20.0)
    assert params() == AttentionParams(8**-0.5)


@pytest.mark.parametrize("window", [1, 49, 50, 1000])
def test_windows_of_any_size_are_found(window: int) -> None:
    found = params(lambda query, key: (key <= query) & (key > query - window)).window
    assert found == (window if window < NUM_POSITIONS else None)


@pytest.mark.parametrize(
    "sees",
    [
        lambda query, key: (key <= query) & (key // 8 == query // 8),  # chunks
        lambda query, key: (key <= query) | (key < 5),  # a prefix that sees itself
        lambda query, key: key >= 0,  # all
        lambda query, key: (key <= query) & (key % 2 == query % 2),  # every second
        lambda query, key: windowed(query, key) | (key == 0),  # a window and the first token
    ],
)
def test_other_masks_are_refused(sees: Sees) -> None:
    with pytest.raises(ConfigError, match="sees neither all that is before nor a window"):
        params(sees)


def test_masks_that_are_matrices_are_refused() -> None:
    asked = call(causal)
    made = LayerCall(asked.module, asked.query, asked.key, asked.value, torch.zeros(3, 3), {})
    with pytest.raises(ConfigError, match="attention masks in a way of its own"):
        read_params(made, NUM_POSITIONS)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"indices": torch.zeros(6)}, "wants indices, which ours does not know"),
        ({"s_aux": torch.zeros(6, 2)}, "has more than one sink for each head"),
        ({"scaling": torch.ones(3)}, "scaling is not the same for all tokens"),
        ({"is_causal": False}, "looks ahead"),
    ],
)
def test_what_paged_attention_does_not_know_is_refused(
    options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        params(**options)
