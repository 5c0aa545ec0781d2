"""What single tokens look like, for logprobs and for /tokenize.

A token is bytes first and text second: half of a character is a valid token. Two alphabets write
bytes as characters, and both are undone here: byte-level BPE's (one printable character for each of
the 256 bytes) and sentencepiece's (`<0xE4>`, and U+2581 for a space).
"""

import re
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\u2581"


@dataclass(frozen=True, slots=True)
class TokenText:
    text: str  # bytes that are no character become U+FFFD
    bytes: tuple[int, ...]
    name: str  # what clients are told it is: its text, or its id


class TokenTexts:
    """The texts of a vocabulary's tokens, each computed once.

    Args:
        by_id: tokens are called `token_id:5`, so that two of the same text can be told apart
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, by_id: bool = False) -> None:
        self._tokenizer = tokenizer
        self._by_id = by_id
        self._byte_level = "ByteLevel" in repr(tokenizer.backend_tokenizer.decoder)
        self._alphabet = _byte_level_alphabet()
        self._known: dict[int, TokenText] = {}  # grows to the vocabulary's size at most

    def of(self, token_id: int) -> TokenText:
        text = self._known.get(token_id)
        if text is None:
            text = self._known[token_id] = self._compute(token_id)
        return text

    def _compute(self, token_id: int) -> TokenText:
        token = self._tokenizer.convert_ids_to_tokens(token_id)
        raw = self._to_bytes(token) if isinstance(token, str) else b""
        text = raw.decode("utf-8", "replace")
        return TokenText(text, tuple(raw), f"token_id:{token_id}" if self._by_id else text)

    def _to_bytes(self, token: str) -> bytes:
        if self._byte_level:
            if all(character in self._alphabet for character in token):
                return bytes(self._alphabet[character] for character in token)
            return token.encode()  # added tokens stand outside the alphabet
        if fallback := _FALLBACK.fullmatch(token):
            return bytes([int(fallback[1], 16)])
        return token.replace(_SPACE, " ").encode()


def _byte_level_alphabet() -> dict[str, int]:
    """Character -> byte: printable bytes stand for themselves, the rest count up from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(0x100 + i): byte for i, byte in enumerate(others)}
