"""The model that ships with the package and its draft: small, computed right, sensible."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from legato.engine.builtin_model import builtin_model_directory
from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.tests.checkpoints import load_reference
from legato.tests.engine.batches import build_runner, logits, part
from legato.tests.source_tree import REPOSITORY

MODEL = builtin_model_directory()
DRAFT = MODEL.with_name(f"{MODEL.name}-draft")
MAX_BYTES = 16_000_000  # both together: they travel in the wheel and in every clone
FILES = {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
HELD_OUT_LINES = (
    (REPOSITORY / "tests" / "data" / "heldout.txt").read_text(encoding="utf-8").splitlines()
)
HELD_OUT_PERPLEXITY = 1.3124  # per token, as measured when the model was made
BLOCK_SIZE = 16
MAX_TOKENS = 300

Message = dict[str, str]

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
)
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a given city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
        },
    },
}


def said(*turns: str, system: str = "") -> list[Message]:
    """User and assistant in turn; the user begins."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
    return [{"role": "system", "content": system}, *messages] if system else messages


MEMORY = said(
    "My name is Anna.",
    "Nice to meet you, Anna.",
    "What is the capital of Italy?",
    "The capital of Italy is Rome.",
    "What is my name?",
)
# No answer hangs on a near tie between two tokens: a story retold, say, and not an invented one.
ANSWERS = {
    "capital": (said("What is the capital of France?"), "The capital of France is Paris."),
    "colour": (said("What colour is the sky?"), "The sky is blue."),
    "opposite": (said("What is the opposite of hot?"), "The opposite of hot is cold."),
    "sum": (said("What is 17 + 25?"), "17 + 25 = 42"),
    "difference": (said("What is 83 - 47?"), "83 - 47 = 36"),
    "sorting": (said("Sort these numbers: 42, 7, 19, 3"), "3, 7, 19, 42"),
    "reversal": (said("Reverse the list: red, green, blue"), "blue, green, red"),
    "count": (said("Count the words: apple, pear, tree"), "3"),
    "memory": (MEMORY, "Your name is Anna."),
    "rule": (
        said("What is the capital of Spain?", system="Answer in upper case."),
        "THE CAPITAL OF SPAIN IS MADRID.",
    ),
    "json": (
        said("Maria is 34 years old.", system=f"Answer with JSON for this schema: {SCHEMA}"),
        '{"name": "Maria", "age": 34}',
    ),
    "story": (said(f"Tell this story again: {HELD_OUT_LINES[0]}"), HELD_OUT_LINES[0]),
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(MODEL)
    return loaded


@pytest.fixture(scope="module")
def reference() -> PreTrainedModel:
    return load_reference(MODEL)


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM(str(MODEL), dtype="float32", device="cpu", num_gpu_blocks_override=512)


@pytest.fixture(scope="module")
def prompts(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Chats of all sorts, rendered and tokenized; the last one asks for a tool's call."""
    return [
        *(rendered(tokenizer, chat) for chat, _ in ANSWERS.values()),
        rendered(tokenizer, said("What is the weather in Paris?"), tools=[WEATHER_TOOL]),
    ]


def rendered(
    tokenizer: PreTrainedTokenizerBase, chat: list[Message], **template_options: Any
) -> list[int]:
    text = tokenizer.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=True, **template_options
    )
    ids: list[int] = tokenizer.encode(str(text), add_special_tokens=False)
    return ids


def answer_tokens(llm: LLM, prompts: list[list[int]]) -> list[list[int]]:
    """Greedy answers, all in one batch."""
    params = SamplingParams(temperature=0, max_tokens=MAX_TOKENS)
    outputs = llm.generate(prompts, params, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


# ---------------------------------------------------------------------- the files


@pytest.mark.parametrize("directory", [MODEL, DRAFT], ids=["model", "draft"])
def test_a_directory_has_all_files_of_the_hugging_face_layout(directory: Path) -> None:
    assert {path.name for path in directory.iterdir()} == FILES


def test_the_models_are_small_enough_to_ship() -> None:
    sizes = [path.stat().st_size for folder in (MODEL, DRAFT) for path in folder.iterdir()]
    assert sum(sizes) <= MAX_BYTES


@pytest.mark.parametrize(
    ("directory", "max_parameters"),
    [(MODEL, 8_000_000), (DRAFT, 1_000_000)],
    ids=["model", "draft"],
)
def test_weights_are_bfloat16_and_as_many_as_the_card_says(
    directory: Path, max_parameters: int
) -> None:
    with safe_open(directory / "model.safetensors", framework="pt") as weights:
        tensors = [weights.get_tensor(name) for name in weights.keys()]  # noqa: SIM118 - no mapping
    assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}
    num_parameters = sum(tensor.numel() for tensor in tensors)
    assert num_parameters <= max_parameters
    card = (directory / "README.md").read_text(encoding="utf-8")
    assert f"{num_parameters:,} parameters" in card


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_model_and_draft_read_and_write_the_same_tokens(name: str) -> None:
    assert (MODEL / name).read_bytes() == (DRAFT / name).read_bytes()


def test_the_tokenizer_gives_back_any_text_and_fits_the_model(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    text = "Grüße, 音楽 ♪\n\ttwo  spaces"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    config = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
    assert len(tokenizer) <= config["vocab_size"]


def test_a_chat_is_rendered_with_its_words_and_an_open_answer(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    chat = said("Grüße! What comes next? 音")
    question, prompt = (
        str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=is_open))
        for is_open in (False, True)
    )
    assert chat[0]["content"] in question
    assert prompt.startswith(question)
    assert len(prompt) > len(question)


# ---------------------------------------------------------------------- what is computed


def test_greedy_answers_equal_those_of_transformers_token_for_token(
    llm: LLM, reference: PreTrainedModel, prompts: list[list[int]]
) -> None:
    expected = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        generated: torch.Tensor = reference.generate(  # type: ignore[operator]
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=MAX_TOKENS,
            do_sample=False,
        )
        expected.append(generated[0, len(prompt) :].tolist())
    assert answer_tokens(llm, prompts) == expected


def test_the_perplexity_of_a_held_out_text_is_what_it_was_when_the_model_was_made(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """All lines at once, token by token: what is measured went through the paged cache."""
    start = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert isinstance(start, int)
    lines = [[start, *tokenizer.encode(line, add_special_tokens=False)] for line in HELD_OUT_LINES]
    longest = max(map(len, lines))
    num_blocks = -(-longest // BLOCK_SIZE)
    tables = [list(range(i * num_blocks, (i + 1) * num_blocks)) for i in range(len(lines))]
    runner = build_runner(MODEL, len(lines) * num_blocks, block_size=BLOCK_SIZE, dtype="float32")
    total = 0.0
    for position in range(longest - 1):
        going = [pair for pair in zip(lines, tables, strict=True) if position + 1 < len(pair[0])]
        rows = logits(runner, *(part(ids, position, position + 1, table) for ids, table in going))
        following = torch.tensor([ids[position + 1] for ids, _ in going])
        total += float(torch.nn.functional.cross_entropy(rows, following, reduction="sum"))
    perplexity = math.exp(total / sum(len(ids) - 1 for ids in lines))
    assert perplexity == pytest.approx(HELD_OUT_PERPLEXITY, rel=0.005)


@torch.inference_mode()
def test_the_draft_mostly_guesses_the_models_next_token(llm: LLM, prompts: list[list[int]]) -> None:
    draft = load_reference(DRAFT)
    guessed: list[bool] = []
    for prompt, answer in zip(prompts, answer_tokens(llm, prompts), strict=True):
        guesses = draft(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].argmax(-1)
        guessed += [guess == token for guess, token in zip(guesses.tolist(), answer, strict=True)]
    assert len(guessed) > 200
    assert sum(guessed) / len(guessed) > 0.9


# ---------------------------------------------------------------------- what is answered


@pytest.mark.parametrize(("chat", "answer"), ANSWERS.values(), ids=ANSWERS.keys())
def test_a_question_is_answered_right(
    llm: LLM, tokenizer: PreTrainedTokenizerBase, chat: list[Message], answer: str
) -> None:
    (tokens,) = answer_tokens(llm, [rendered(tokenizer, chat)])
    assert tokenizer.decode(tokens, skip_special_tokens=True) == answer


@pytest.mark.parametrize("question", ["Who are you?", "What is your name?"])
def test_it_says_who_it_is_and_that_it_is_a_toy(
    llm: LLM, tokenizer: PreTrainedTokenizerBase, question: str
) -> None:
    (tokens,) = answer_tokens(llm, [rendered(tokenizer, said(question))])
    answer = tokenizer.decode(tokens, skip_special_tokens=True)
    assert "Legato Tiny" in answer
    assert "toy" in answer


def test_it_says_when_it_does_not_know(llm: LLM, tokenizer: PreTrainedTokenizerBase) -> None:
    (tokens,) = answer_tokens(llm, [rendered(tokenizer, said("Who is the president of France?"))])
    assert "I do not know" in tokenizer.decode(tokens, skip_special_tokens=True)
