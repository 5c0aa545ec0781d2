"""A vocabulary for engines without a model: one token for each letter and digit."""

import string

from llguidance import LLTokenizer, TokenizerWrapper

from legato.engine.batch import SequenceRequest
from legato.engine.grammar_compiler import GrammarCompiler
from legato.tests.engine.fake_runner import EOS, VOCAB_SIZE, banned_by, next_token

LETTERS = string.ascii_lowercase + string.digits + ' {}[]:,"-.\n'


class Letters:
    """What llguidance asks of a tokenizer: token n is the n-th letter, token 0 the end."""

    eos_token_id = EOS
    bos_token_id = None
    special_token_ids = (EOS,)

    def __init__(self) -> None:
        spare = VOCAB_SIZE - 1 - len(LETTERS)
        self.tokens = [b"<end>", *(letter.encode() for letter in LETTERS), *[b""] * spare]

    def __call__(self, text: bytes) -> list[int]:
        return token_ids(text.decode())


def token_ids(text: str) -> list[int]:
    return [LETTERS.index(letter) + 1 for letter in text]


def text_of(token_ids: list[int]) -> str:
    return "".join("$" if token_id == EOS else LETTERS[token_id - 1] for token_id in token_ids)


def formed_answer(compiler: GrammarCompiler, request: SequenceRequest) -> list[int]:
    """What an engine answers that knows one sequence, one step at a time."""
    assert request.params.structured_output is not None
    grammar = compiler.start(request.params.structured_output)
    context = list(request.prompt_token_ids)
    for _ in range(request.params.max_tokens or 0):
        context.append(next_token(context, banned_by(grammar)))
        grammar.accept(context[-1])
        if grammar.is_over:
            break
    return context[len(request.prompt_token_ids) :]


def letters_compiler() -> GrammarCompiler:
    return GrammarCompiler(lambda: LLTokenizer(TokenizerWrapper(Letters()), VOCAB_SIZE, [EOS]))
