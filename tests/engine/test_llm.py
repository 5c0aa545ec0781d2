from collections.abc import Iterator
from pathlib import Path

import pytest

from legato.engine.batch import ScheduledBatch
from legato.engine.errors import ConfigError, ContextLengthError, InvalidRequestError
from legato.engine.llm import LLM
from legato.engine.pipeline import PendingResult, Runner
from legato.engine.sampling_params import SamplingParams
from legato.engine.tokenizer import Tokenizer
from legato.tests.checkpoints import edit_json

GREEDY = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)


@pytest.fixture(scope="module")
def llm(model_directory: Path) -> LLM:
    return LLM(model=str(model_directory), dtype="float32", kv_cache_memory_bytes="8M")


@pytest.fixture(autouse=True)
def the_engine_is_left_clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "llm" in request.fixturenames:
        stats = request.getfixturevalue("llm").core.stats()
        assert stats.num_free_blocks == stats.num_total_blocks
        assert (stats.num_running, stats.num_waiting) == (0, 0)


def test_outputs_come_in_the_order_of_prompts(llm: LLM, tokenizer: Tokenizer) -> None:
    prompts = ["The pianist", "A quiet singer hums a slow melody", "nine"]
    outputs = llm.generate(prompts, GREEDY, use_tqdm=False)
    assert [output.prompt for output in outputs] == prompts
    assert [output.prompt_token_ids for output in outputs] == list(map(tokenizer.encode, prompts))
    for prompt, output in zip(prompts, outputs, strict=True):
        (alone,) = llm.generate(prompt, GREEDY, use_tqdm=False)
        assert output.outputs == alone.outputs
        assert output.finished
        answer = output.outputs[0]
        assert answer.text == tokenizer.decode(answer.token_ids)
        assert (len(answer.token_ids), answer.finish_reason) == (8, "length")


def test_each_prompt_can_have_its_own_params(llm: LLM) -> None:
    params = [SamplingParams(max_tokens=n, ignore_eos=True) for n in (1, 3)]
    outputs = llm.generate([[5, 6], [7]], params, use_tqdm=False)
    assert [len(output.outputs[0].token_ids) for output in outputs] == [1, 3]
    with pytest.raises(InvalidRequestError, match="2 sampling_params for 1 prompts"):
        llm.generate([[5, 6]], params, use_tqdm=False)


def test_n_answers_differ_and_a_seed_repeats_them(llm: LLM) -> None:
    params = SamplingParams(n=3, seed=1, max_tokens=8, logprobs=2, ignore_eos=True)
    (output,) = llm.generate([5, 6, 7], params, use_tqdm=False)
    assert [answer.index for answer in output.outputs] == [0, 1, 2]
    assert len({tuple(answer.token_ids) for answer in output.outputs}) == 3
    (again,) = llm.generate([5, 6, 7], params, use_tqdm=False)
    assert [a.token_ids for a in again.outputs] == [a.token_ids for a in output.outputs]
    first = output.outputs[0]
    assert first.logprobs is not None
    for token_id, logprobs in zip(first.token_ids, first.logprobs, strict=True):
        assert next(iter(logprobs)) == token_id
        assert len(logprobs) in (2, 3)


def test_without_a_seed_answers_differ_from_call_to_call(llm: LLM) -> None:
    params = SamplingParams(max_tokens=8, ignore_eos=True)
    outputs = [llm.generate([5, 6], params, use_tqdm=False)[0].outputs[0] for _ in range(3)]
    assert len({tuple(answer.token_ids) for answer in outputs}) == 3


def test_a_stop_string_ends_an_answer_early(llm: LLM) -> None:
    (free,) = llm.generate("The pianist", GREEDY, use_tqdm=False)
    stop = free.outputs[0].text[3:6]
    params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True, stop=(stop,))
    (stopped,) = llm.generate("The pianist", params, use_tqdm=False)
    answer = stopped.outputs[0]
    assert answer.text == free.outputs[0].text.partition(stop)[0]
    assert (answer.finish_reason, answer.stop_reason) == ("stop", stop)
    assert len(answer.token_ids) < 8


def test_more_prompts_than_the_queue_takes_are_all_answered(model_directory: Path) -> None:
    llm = LLM(
        str(model_directory), num_gpu_blocks_override=128, max_num_seqs=2, max_num_queued_reqs=1
    )
    outputs = llm.generate([[n, n + 1] for n in range(9)], GREEDY, use_tqdm=False)
    assert [len(output.outputs[0].token_ids) for output in outputs] == [8] * 9


def test_one_bad_prompt_refuses_the_call_before_anything_is_computed(llm: LLM) -> None:
    steps = llm.core.stats().totals.steps
    with pytest.raises(InvalidRequestError, match="vocabulary"):
        llm.generate([[5, 6], [5, 99_999]], GREEDY, use_tqdm=False)
    with pytest.raises(ContextLengthError):
        llm.generate([[5, 6], [5] * 5000], GREEDY, use_tqdm=False)
    assert llm.core.stats().totals.steps == steps


class Interrupted:
    """A runner during whose third step the user presses Ctrl-C."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self._num_steps = runner, 0

    @property
    def pipeline_depth(self) -> int:
        return self._runner.pipeline_depth

    def launch(self, batch: ScheduledBatch) -> PendingResult:
        self._num_steps += 1
        if self._num_steps == 3:
            raise KeyboardInterrupt
        return self._runner.launch(batch)


def test_ctrl_c_leaves_the_engine_clean_and_usable(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    (expected,) = llm.generate([5, 6], GREEDY, use_tqdm=False)
    with monkeypatch.context() as patch:
        pipeline = llm.core._pipeline
        patch.setattr(pipeline, "_runner", Interrupted(pipeline._runner))
        with pytest.raises(KeyboardInterrupt):
            llm.generate([[5, 6], [7, 8]], GREEDY, use_tqdm=False)
    assert llm.core.stats().num_running == 0
    assert llm.generate([5, 6], GREEDY, use_tqdm=False)[0].outputs == expected.outputs


def test_token_ids_alone_need_no_tokenizer(llm: LLM, model_directory: Path) -> None:
    bare = LLM(str(model_directory), skip_tokenizer_init=True, num_gpu_blocks_override=128)
    (output,) = bare.generate([{"prompt_token_ids": [5, 6, 7]}], GREEDY, use_tqdm=False)
    (with_text,) = llm.generate([5, 6, 7], GREEDY, use_tqdm=False)
    assert output.outputs[0].token_ids == with_text.outputs[0].token_ids
    assert (output.outputs[0].text, output.prompt) == ("", None)
    with pytest.raises(InvalidRequestError, match="tokenizer"):
        bare.generate("nine", GREEDY)
    with pytest.raises(InvalidRequestError, match="tokenizer"):
        bare.generate([5], SamplingParams(stop=("a",)))


def test_the_models_own_sampling_is_the_default(model_directory: Path, tmp_path: Path) -> None:
    for path in model_directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    edit_json(tmp_path / "generation_config.json", temperature=0.25, top_k=7, top_p=0.5)
    params = LLM(str(tmp_path), num_gpu_blocks_override=128).get_default_sampling_params()
    assert (params.temperature, params.top_k, params.top_p) == (0.25, 7, 0.5)


def test_the_bar_shows_unless_it_is_not_wanted(llm: LLM, capfd: pytest.CaptureFixture[str]) -> None:
    llm.generate([5, 6], GREEDY, use_tqdm=False)
    assert capfd.readouterr().err == ""
    llm.generate([5, 6], GREEDY)
    assert "1/1" in capfd.readouterr().err


def test_an_unknown_option_names_the_nearest_one(model_directory: Path) -> None:
    with pytest.raises(ConfigError, match="max_model_len"):
        LLM(str(model_directory), max_modellen=100)


def test_a_missing_model_is_an_operators_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        LLM(str(tmp_path / "nothing"))
