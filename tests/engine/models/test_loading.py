from pathlib import Path

import pytest
import torch

from legato.engine.load_progress import LoadProgress
from legato.engine.models.decoder import Decoder
from legato.engine.models.description import describe_model
from legato.engine.models.general_network import GeneralNetwork
from legato.engine.models.loading import dummy_network, load_network
from legato.engine.models.weights import Placement
from legato.tests.family_traps import TRAPS
from legato.tests.general_traps import GENERAL_TRAPS

CPU = Placement(torch.float32, torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "network_class", "unit"),
    [("mistral", Decoder, "B"), ("olmo2", GeneralNetwork, "tensors")],
)
def test_each_code_loads_its_own(tmp_path: Path, name: str, network_class: type, unit: str) -> None:
    checkpoint = (TRAPS | GENERAL_TRAPS)[name].make(tmp_path)
    config = describe_model(checkpoint)
    told: list[LoadProgress] = []
    assert isinstance(load_network(checkpoint, config, CPU, told.append), network_class)
    assert told[-1].stage == "loading weights"
    assert told[-1].done == told[-1].total > 0
    assert told[-1].unit == unit
    assert isinstance(dummy_network(checkpoint, config, CPU, seed=1), network_class)
