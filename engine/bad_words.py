"""Words that an answer must not have in it, as the tokens that write them.

A word of one token is kept from every position; of a longer one, the last token is, wherever the
answer ends in the others. A word that is cut into tokens in another way may still slip through.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from legato.engine.sampling_params import SamplingParams


def resolve_bad_words(
    params: SamplingParams, encode: Callable[[str], Sequence[int]], vocab_size: int
) -> SamplingParams:
    """The same, with `bad_words_token_ids`: each word at the start of a text, and after a space.

    Args:
        encode: a text's token ids, without special tokens around them
        vocab_size: of the model, which makes no other tokens, whatever its tokenizer knows
    """
    if not params.bad_words:
        return params
    texts = [prefix + word.lstrip() for word in params.bad_words for prefix in ("", " ")]
    encoded = [tuple(encode(text)) for text in texts]
    sequences = dict.fromkeys(ids for ids in encoded if ids and max(ids) < vocab_size)
    return replace(params, bad_words_token_ids=tuple(sequences))


def forbidden_next(
    sequences: tuple[tuple[int, ...], ...], output_token_ids: Sequence[int]
) -> tuple[int, ...]:
    """The last tokens of those sequences, of two tokens or more, that an answer is about to end in.

    Args:
        output_token_ids: at least as many of the answer's last tokens as the longest has
    """
    return tuple(
        sequence[-1]
        for sequence in sequences
        if tuple(output_token_ids[1 - len(sequence) :]) == sequence[:-1]
    )
