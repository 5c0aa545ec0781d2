"""A model's tokenizer: text to token ids and back, as Hugging Face's tokenizer.json defines it.

Incremental decoding is legato.engine.detokenizer's. Code from a model's repository is never run.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

from legato.engine.errors import ConfigError
from legato.engine.models.source import resolve_model_directory

_GENERAL_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")


class Tokenizer:
    """`hf` is the transformers tokenizer, which renders chat templates; `backend` its Rust core."""

    def __init__(self, hf: PreTrainedTokenizerFast) -> None:
        self.hf = hf
        self.backend: Backend = hf.backend_tokenizer
        added = self.backend.get_added_tokens_decoder()
        self.special_ids = frozenset(i for i, token in added.items() if token.special)

    @classmethod
    def load(cls, name: str) -> "Tokenizer":
        """Loads the tokenizer of a directory or hub id.

        Raises:
            ConfigError: there is none, it is broken, or it needs code of its own.
        """
        directory = resolve_model_directory(name)
        try:
            loader = _loader(directory)
            hf = loader.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # transformers raises nearly anything for a broken file
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ConfigError(f"no tokenizer can be loaded from {name}: {reason}") from error
        if not isinstance(hf, PreTrainedTokenizerFast):
            raise ConfigError(f"the tokenizer of {name} has no tokenizer.json form")
        return cls(hf)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of the text; special tokens as the tokenizer adds them to a plain prompt."""
        return self.backend.encode(text, add_special_tokens=add_special_tokens).ids

    def encode_plain(self, text: str) -> list[int]:
        """Token ids of a text that is part of another: without special tokens around it."""
        return self.encode(text, add_special_tokens=False)

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of the ids. Bytes that are no UTF-8 become U+FFFD; unknown ids are left out."""
        return self.backend.decode(token_ids, skip_special_tokens=skip_special_tokens)


def _loader(directory: Path) -> Any:
    """The class that AutoTokenizer would end up with, if that is the general one.

    AutoTokenizer looks through all models first, and imports torch for it: three seconds, in a
    router that needs neither.
    """
    config = directory / "tokenizer_config.json"
    if config.is_file() and (directory / "tokenizer.json").is_file():
        named = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class")
        if named in _GENERAL_CLASSES:
            return PreTrainedTokenizerFast
    return transformers.AutoTokenizer  # an attribute that is imported on its first use
