"""The engine without a server: prompts in, finished answers out.

prompts -> token ids -> EngineCore -> token ids -> text
             (one sequence for each of a prompt's n answers)

llm = LLM(model="path/to/model", dtype="float32")
for output in llm.generate(["Hello"], SamplingParams(temperature=0, max_tokens=8)):
    print(output.outputs[0].text)
"""

import random
from collections import deque
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from legato.engine.answer import Answer
from legato.engine.bad_words import resolve_bad_words
from legato.engine.batch import SequenceRequest, StepResult
from legato.engine.config import EngineConfig
from legato.engine.core import EngineCore
from legato.engine.errors import EngineError, InvalidRequestError, OverloadedError
from legato.engine.load_bar import LoadBar
from legato.engine.models.description import describe_model
from legato.engine.models.source import resolve_model_directory
from legato.engine.prompts import Prompt, TokenizedPrompt, tokenize_prompts
from legato.engine.request_output import RequestOutput
from legato.engine.sampling_params import SamplingParams
from legato.engine.seeds import sequence_seed
from legato.engine.tokenizer import Tokenizer


class LLM:
    """A model on this machine. Not to be used from two threads at a time."""

    def __init__(self, model: str, **options: Any) -> None:
        """Loads the model.

        Args:
            model: directory in Hugging Face layout, or a hub id
            options: any option of legato.engine.config by its name, `dtype` or `block_size` say

        Raises:
            ConfigError: an option is unknown or the model cannot be served as asked.
        """
        config = EngineConfig.from_options({"model": model, **options})
        directory = resolve_model_directory(config.model.model)
        self._tokenizer = (
            None
            if config.model.skip_tokenizer_init
            else Tokenizer.load(config.model.tokenizer or str(directory))
        )
        described = describe_model(directory, config.model.trust_remote_code)
        defaults: dict[str, Any] = dict(described.sampling_defaults)
        self._default_params = SamplingParams(**defaults)
        self._random = random.Random(config.model.seed)
        with LoadBar() as bar:
            self.core = EngineCore.build(config, on_progress=bar.update)

    def get_tokenizer(self) -> Tokenizer | None:
        """None with skip_tokenizer_init."""
        return self._tokenizer

    def get_default_sampling_params(self) -> SamplingParams:
        """What the model's generation_config.json recommends."""
        return self._default_params

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        """Answers all prompts, as many at a time as fit, and returns them in order.

        Args:
            prompts: see `tokenize_prompts`
            sampling_params: for all prompts, or one for each; default: the model's own

        Raises:
            RequestError: a prompt or its parameters cannot be served; nothing was generated.
            EngineError: the engine broke.
        """
        tokenized = tokenize_prompts(prompts, self._tokenizer)
        params = self._params_of_each(sampling_params, len(tokenized))
        groups = [self._answers(*pair) for pair in zip(tokenized, params, strict=True)]
        answers = [answer for group in groups for answer in group]
        for answer in answers:
            self.core.check(answer.request)
        with tqdm(total=len(answers), desc="Answers", disable=not use_tqdm) as bar:
            self._run(deque(answers), bar)
        return [
            RequestOutput(
                prompt=prompt.text,
                prompt_token_ids=list(prompt.token_ids),
                outputs=[answer.output(index) for index, answer in enumerate(group)],
                num_cached_tokens=group[0].num_cached_tokens,
                prompt_logprobs=group[0].prompt_logprobs,
            )
            for prompt, group in zip(tokenized, groups, strict=True)
        ]

    def _params_of_each(
        self, given: SamplingParams | Sequence[SamplingParams] | None, num_prompts: int
    ) -> list[SamplingParams]:
        if given is None or isinstance(given, SamplingParams):
            return [given or self._default_params] * num_prompts
        if len(given) != num_prompts:
            raise InvalidRequestError(f"{len(given)} sampling_params for {num_prompts} prompts")
        return list(given)

    def _answers(self, prompt: TokenizedPrompt, params: SamplingParams) -> list[Answer]:
        if params.stop and self._tokenizer is None:
            raise InvalidRequestError("stop strings need a tokenizer", "stop")
        if self._tokenizer is not None:
            params = resolve_bad_words(
                params, self._tokenizer.encode_plain, self.core.limits.vocab_size
            )
        elif params.bad_words:
            raise InvalidRequestError("bad words need a tokenizer", "bad_words")
        seed = self._random.getrandbits(63) if params.seed is None else params.seed
        return [
            Answer(
                SequenceRequest(prompt.token_ids, params, sequence_seed(seed, index)),
                self._tokenizer,
            )
            for index in range(params.n)
        ]

    def _run(self, pending: "deque[Answer]", bar: "tqdm[Any]") -> None:
        """Works until all answers are finished; whatever happens, none is left in the engine."""
        active: dict[int, Answer] = {}
        try:
            while pending or active or self.core.has_work():
                self._add(pending, active)
                step = self.core.step()
                if step.num_prefill_tokens + step.num_decode_tokens == 0:
                    raise EngineError("no sequence can go on: the KV cache is held by others")
                bar.update(self._take(step, active))
        finally:
            for seq_id in active:
                self.core.abort(seq_id)

    def _add(self, pending: "deque[Answer]", active: dict[int, Answer]) -> None:
        try:
            while pending:
                active[self.core.add(pending[0].request)] = pending[0]
                pending.popleft()
        except OverloadedError:
            return  # the rest when some have finished

    def _take(self, step: StepResult, active: dict[int, Answer]) -> int:
        """Hands a step's tokens to their answers; returns how many answers are finished by them."""
        num_finished = 0
        for output in step.outputs:
            active[output.seq_id].take(output)
            if active[output.seq_id].is_finished:
                self.core.abort(output.seq_id)  # a stop string is nothing that the core knows
                del active[output.seq_id]
                num_finished += 1
        return num_finished
