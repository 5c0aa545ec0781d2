from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from legato.engine.errors import ConfigError
from legato.engine.models.checkpoint import SINGLE_FILE
from legato.engine.models.general_network import GeneralNetwork
from legato.engine.models.general_probe import probe_model
from legato.engine.models.general_weights import dummy_general, load_general
from legato.engine.models.weights import OnProgress, Placement
from legato.kernels import torch_kernels
from legato.kernels.backend import Kernels
from legato.tests.general_traps import GENERAL_TRAPS

CPU = torch.device("cpu")
KERNELS: Kernels = torch_kernels


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return GENERAL_TRAPS["olmo2"].make(tmp_path)


def load(
    checkpoint: Path,
    dtype: torch.dtype = torch.float32,
    on_progress: OnProgress = lambda *_: None,
) -> GeneralNetwork:
    config = probe_model(checkpoint, trusts_code=False)
    return load_general(checkpoint, config, Placement(dtype, CPU), on_progress)


def dummy(checkpoint: Path, seed: int) -> GeneralNetwork:
    config = probe_model(checkpoint, trusts_code=False)
    return dummy_general(checkpoint, config, Placement(torch.float32, CPU), seed)


def edit_tensors(directory: Path, **changes: Any) -> None:
    tensors = load_file(directory / SINGLE_FILE) | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, directory / SINGLE_FILE, {"format": "pt"})


def logits(network: GeneralNetwork) -> torch.Tensor:
    """Of one row, by the head alone."""
    hidden = torch.linspace(-1, 1, 36, dtype=network.dtype)[None]
    return network.logits(hidden, KERNELS)


def test_weights_are_what_the_file_says_in_the_type_that_is_asked_for(checkpoint: Path) -> None:
    head = load_file(checkpoint / SINGLE_FILE)["lm_head.weight"]
    assert torch.allclose(logits(load(checkpoint)), torch.linspace(-1, 1, 36) @ head.T, atol=1e-5)
    network = load(checkpoint, torch.bfloat16)
    assert network.dtype == logits(network).dtype == torch.bfloat16


def test_progress_is_told_instead_of_drawn(
    checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[int, int]] = []
    load(checkpoint, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(done, len(told)) for done in range(1, len(told) + 1)]
    assert len(told) == len(load_file(checkpoint / SINGLE_FILE))
    assert "Loading weights" not in capfd.readouterr().err


def test_tensors_that_are_missing_or_of_another_shape_are_named(checkpoint: Path) -> None:
    edit_tensors(checkpoint, **{"lm_head.weight": torch.zeros(5, 36)})
    with pytest.raises(ConfigError, match=r"lm_head\.weight of another shape"):
        load(checkpoint)
    edit_tensors(checkpoint, **{"lm_head.weight": None})
    with pytest.raises(ConfigError, match=r"lm_head\.weight missing from the weights"):
        load(checkpoint)


def test_a_missing_file_is_one_line(checkpoint: Path) -> None:
    (checkpoint / SINGLE_FILE).unlink()
    with pytest.raises(ConfigError, match="cannot be loaded: ") as caught:
        load(checkpoint)
    assert "\n" not in str(caught.value)


def test_dummy_weights_are_the_same_for_the_same_seed(checkpoint: Path) -> None:
    before = torch.random.get_rng_state()
    first = logits(dummy(checkpoint, 1))
    assert torch.equal(first, logits(dummy(checkpoint, 1)))
    assert not torch.equal(first, logits(dummy(checkpoint, 2)))
    assert torch.equal(torch.random.get_rng_state(), before)
