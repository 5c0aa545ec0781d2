"""The tokenizer: byte-level BPE of 2,048 tokens, made so that what must be copied looks the same.

A word in a sentence, in quotes and in JSON gets the same tokens, as a space is a token of its own
but before the most common words; digits, capital letters in a row and punctuation stand alone:

    "I live in Zorvik, 42"  ->  I| |live| in| |Zor|vik|,| |4|2

The module knows nothing of what the text is about.
"""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from legato.training.chat import (
    CALL_END,
    CALL_START,
    DOCUMENT_END,
    RESPONSE_END,
    RESPONSE_START,
    TURN_END,
    TURN_START,
)

VOCAB_SIZE = 2048
CONTROL_TOKENS = (DOCUMENT_END, TURN_START, TURN_END)
# Part of an answer's text, so that a client that skips control tokens still sees them.
MARKUP_TOKENS = (CALL_START, CALL_END, RESPONSE_START, RESPONSE_END, "<tools>", "</tools>")

# Words of grammar only: a word that may have to be copied must not change with the space before it.
_COMMON = (
    "a|an|and|are|as|at|be|by|can|do|does|for|from|has|have|her|his|how|i|if|in|is|it|me|my|of|or|"
    "so|than|that|the|then|there|this|to|was|were|what|where|which|who|will|with|you|your"
)
_PATTERN = (
    r"[A-Z]?[a-z]+"  # a word
    rf"| (?:{_COMMON})(?![A-Za-z])"  # a common word with the space before it
    r"|[\s\S]"  # all else, one by one
)


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer of `VOCAB_SIZE` tokens, its merges learned from `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[*CONTROL_TOKENS, *MARKUP_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(
        [AddedToken(each, special=False, normalized=False) for each in MARKUP_TOKENS]
    )
    return Tokenizer.from_str(tokenizer.to_str())  # a decoder learns of `special` on loading only


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that the vocabulary holds."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise KeyError(f"no token {token!r}")
    return int(found)
