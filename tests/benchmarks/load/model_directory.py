"""A model that exists nowhere: a known shape, random weights, a tokenizer of made-up words.

Random weights draw from the whole vocabulary, so each of its ids must have a text: tokens without
one would wait for the next that has, and a stream would show fewer tokens than it has.
"""

import json
from pathlib import Path
from typing import Any

from legato.tests.benchmarks.model_shapes import write_config

_SPACE = "\u0120"  # as byte-level tokenizers write it
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_model(directory: Path, shape: dict[str, Any]) -> Path:
    """Everything that `legato serve --load-format dummy` reads; returns `directory`."""
    write_config(directory, shape)
    tokenizer = directory / "tokenizer.json"
    tokenizer.write_text(json.dumps(_tokenizer(shape["vocab_size"])), encoding="utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return directory


def _tokenizer(vocab_size: int) -> dict[str, Any]:
    """Byte-level BPE without merges: the text of ids is their words, each behind a space."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level | {"use_regex": True},
        "post_processor": None,
        "decoder": byte_level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {_SPACE + _word(index): index for index in range(vocab_size)},
            "merges": [],
        },
    }


def _word(index: int) -> str:
    """The number in letters."""
    word = _LETTERS[index % len(_LETTERS)]
    while index := index // len(_LETTERS):
        word = _LETTERS[index % len(_LETTERS)] + word
    return word
