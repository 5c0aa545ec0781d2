from pathlib import Path

import pytest
import torch

from legato.engine.errors import ConfigError
from legato.engine.models.general_parts import ModelParts
from legato.tests.checkpoints import load_reference
from legato.tests.general_traps import GENERAL_TRAPS


@pytest.mark.parametrize("name", ["granite", "opt", "phi"])  # a factor, a nested module, a bias
def test_the_head_alone_makes_the_same_logits(tmp_path: Path, name: str) -> None:
    model = load_reference(GENERAL_TRAPS[name].make(tmp_path))
    token_ids = torch.arange(5)[None]
    with torch.inference_mode():
        expected = model(token_ids).logits[0]
        hidden = model.get_decoder()(token_ids)[0][0]
        assert torch.equal(ModelParts.of(model).logits(hidden), expected)


def test_models_that_cannot_be_taken_apart_are_refused(tmp_path: Path) -> None:
    model = load_reference(GENERAL_TRAPS["olmo2"].make(tmp_path))
    model.model.head = model.lm_head
    with pytest.raises(ConfigError, match="its layers and its head cannot be told apart"):
        ModelParts.of(model)
