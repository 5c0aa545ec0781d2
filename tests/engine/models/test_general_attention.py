import pytest
import torch
from torch import nn
from transformers import AttentionInterface

from legato.engine.errors import ConfigError
from legato.engine.models.general_attention import OPTION, PAGED, LayerCall, register


class Noting:
    """Answers with the values, and keeps the call."""

    def attend(self, call: LayerCall) -> torch.Tensor:
        self.call = call
        return call.value.transpose(1, 2)


class NumberedLayer(nn.Module):
    layer_idx = 5


def heads() -> list[torch.Tensor]:
    return [torch.randn(1, 2, 3, 4) for _ in range(3)]


def test_a_call_goes_to_the_attention_that_came_with_it() -> None:
    register()
    attention, module, given = Noting(), NumberedLayer(), heads()
    function = AttentionInterface()[PAGED]
    output, weights = function(module, *given, None, scaling=0.5, **{OPTION: attention})
    assert weights is None
    assert torch.equal(output, given[2].transpose(1, 2))
    assert attention.call.layer == 5
    assert attention.call.options == {"scaling": 0.5}


def test_layers_without_a_number_or_without_options_are_refused() -> None:
    register()
    function = AttentionInterface()[PAGED]
    with pytest.raises(ConfigError, match="Identity keeps options from its attention"):
        function(nn.Identity(), *heads(), attention_mask=None)
    query, key, value = heads()
    call = LayerCall(nn.Identity(), query, key, value, None, {})
    with pytest.raises(ConfigError, match="Identity does not know the number of its layer"):
        _ = call.layer
