"""What single tokens look like."""

from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from legato.deployments.openai.token_texts import TokenTexts
from legato.tests.deployments.openai.harness import EOS_ID, REPLY, encode, tiny_tokenizer


def test_the_bytes_of_byte_level_tokens_join_to_the_text() -> None:
    texts = TokenTexts(tiny_tokenizer())
    tokens = [texts.of(token_id) for token_id in encode(REPLY)]
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == REPLY
    assert tokens[1].text == " quick"


def test_half_of_a_character_is_shown_as_a_replacement_and_by_its_byte() -> None:
    texts = TokenTexts(tiny_tokenizer())
    half = texts.of(encode("€")[0])
    assert half.text == "\ufffd"
    assert bytes(half.bytes) == "€".encode()[:1]


def test_a_special_token_is_shown_by_its_name() -> None:
    assert TokenTexts(tiny_tokenizer()).of(EOS_ID).text == "<|eos|>"


def test_sentencepiece_tokens_keep_their_space_and_their_byte() -> None:
    vocabulary = {"<unk>": 0, "\u2581fox": 1, "<0xE4>": 2}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    texts = TokenTexts(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert texts.of(1).text == " fox"
    assert texts.of(2).bytes == (0xE4,)


def test_an_id_beyond_the_tokenizers_vocabulary_is_empty() -> None:
    assert TokenTexts(tiny_tokenizer()).of(100_000).text == ""
