import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from legato.engine.builtin_model import builtin_model_directory

MAX_BYTES = 64 << 20  # it travels in the wheel and in every clone
MESSAGES = [{"role": "user", "content": "Grüße! What comes next? 音"}]


def _json(name: str) -> Any:
    return json.loads((builtin_model_directory() / name).read_text(encoding="utf-8"))


def test_the_model_is_small_enough_to_ship() -> None:
    files = [path for path in builtin_model_directory().iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_BYTES


def test_weights_are_bfloat16_safetensors() -> None:
    (file,) = builtin_model_directory().glob("*.safetensors")
    with safe_open(file, framework="pt") as weights:
        names = weights.keys()
        assert {weights.get_tensor(name).dtype for name in names} == {torch.bfloat16}


def test_the_tokenizer_gives_back_any_text_and_fits_the_model() -> None:
    tokenizer = AutoTokenizer.from_pretrained(builtin_model_directory())
    text = "Grüße, 音楽 ♪\n\ttwo  spaces"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert len(tokenizer) <= _json("config.json")["vocab_size"]


def test_a_chat_is_rendered_with_its_words_and_an_open_answer() -> None:
    tokenizer = AutoTokenizer.from_pretrained(builtin_model_directory())
    question, prompt = (
        str(tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=is_open))
        for is_open in (False, True)
    )
    assert MESSAGES[0]["content"] in question
    assert prompt.startswith(question)
    assert len(prompt) > len(question)


def test_the_end_of_an_answer_is_known_to_model_and_tokenizer() -> None:
    tokenizer = AutoTokenizer.from_pretrained(builtin_model_directory())
    end_ids = _json("generation_config.json")["eos_token_id"]
    end_ids = end_ids if isinstance(end_ids, list) else [end_ids]
    assert tokenizer.eos_token_id in end_ids


def test_transformers_generates_from_it() -> None:
    directory: Path = builtin_model_directory()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    prompt = tokenizer("What comes next?", return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert answer.shape == (1, prompt["input_ids"].shape[1] + 4)
