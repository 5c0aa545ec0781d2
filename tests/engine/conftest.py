from pathlib import Path

import pytest
import torch

from legato.engine.tokenizer import Tokenizer
from legato.tests.tools.make_random_model import make_random_model


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model with a real tokenizer."""
    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("model")
    make_random_model(directory)
    return directory


@pytest.fixture(scope="session")
def tokenizer(model_directory: Path) -> Tokenizer:
    return Tokenizer.load(str(model_directory))
