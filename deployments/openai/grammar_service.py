"""Checks of what answers are to be held to, off the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from legato.deployments.openai.constraint import Constraint
from legato.engine.errors import OverloadedError
from legato.engine.grammar_compiler import GrammarCompiler, load_vocabulary
from legato.engine.tokenizer import Tokenizer


class GrammarService:
    """Grammars for one model's vocabulary, compiled by threads of its own.

    Args:
        vocab_size: of the model.
        timeout_s: for one check, waiting for a thread included.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        vocab_size: int,
        num_threads: int = 2,
        timeout_s: float = 30.0,
    ) -> None:
        self._compiler = GrammarCompiler(partial(load_vocabulary, tokenizer, vocab_size))
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="grammars")
        self._timeout_s = timeout_s

    def load(self) -> None:
        """Has a thread load what checks need, before the first one asks for it."""
        self._threads.submit(self._compiler.load)

    async def check(self, constraint: Constraint) -> None:
        """Refuses what no worker could hold an answer to.

        Raises:
            InvalidRequestError: it is malformed, not supported, or too large.
            OverloadedError: the time limit has passed.
        """
        running = asyncio.get_running_loop().run_in_executor(
            self._threads, self._compiler.compile_check, constraint.output, constraint.param
        )
        try:
            await asyncio.wait_for(running, self._timeout_s)
        except TimeoutError:
            raise OverloadedError(
                f"{constraint.param} was not compiled within {self._timeout_s:g} s"
            ) from None
