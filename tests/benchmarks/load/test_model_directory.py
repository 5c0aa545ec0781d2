"""Every id of a made-up model has a text of its own."""

from pathlib import Path

import pytest

from legato.engine.detokenizer import TextStream
from legato.engine.models.model_config import ModelConfig
from legato.engine.sampling_params import SamplingParams
from legato.engine.tokenizer import Tokenizer
from legato.tests.benchmarks.load.model_directory import write_model
from legato.tests.benchmarks.model_shapes import LLAMA_8B

NUM_TOKENS = 2000


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), LLAMA_8B | {"vocab_size": NUM_TOKENS})


def test_each_token_of_a_stream_is_seen_at_once(directory: Path) -> None:
    stream = TextStream(Tokenizer.load(str(directory)), SamplingParams(max_tokens=NUM_TOKENS))
    texts = [stream.feed([token_id]).text for token_id in range(NUM_TOKENS)]
    assert all(text.startswith(" ") and text[1:].isalpha() for text in texts)
    assert len(set(texts)) == NUM_TOKENS


def test_the_shape_is_the_one_that_was_asked_for(directory: Path) -> None:
    config = ModelConfig.load(directory)
    assert (config.num_layers, config.vocab_size) == (32, NUM_TOKENS)
