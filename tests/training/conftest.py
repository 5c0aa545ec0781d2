"""What the tests of the training share: one small tokenizer, made once."""

import pytest
from tokenizers import Tokenizer

from legato.training.make_model import make_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A tokenizer of the real kind, its merges learned from few documents."""
    return make_tokenizer(400)
