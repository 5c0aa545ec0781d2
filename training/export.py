"""A trained model as a directory in Hugging Face layout, and the check that transformers agrees.

config.json  generation_config.json  model.safetensors (bfloat16)
tokenizer.json  tokenizer_config.json  chat_template.jinja
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from legato.training.chat import DOCUMENT_END, TEMPLATE_PATH, TURN_END
from legato.training.evaluate import greedy, prompt_text
from legato.training.model import Llama
from legato.training.skills.exam import Item
from legato.training.tokens import token_id


def round_to_bfloat16(model: Llama) -> None:
    """Gives the model the weights that the checkpoint will hold, so that it is judged with them."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.bfloat16().float())


def write_model(model: Llama, tokenizer: Tokenizer, directory: Path) -> None:
    """Writes the whole directory but for the model card."""
    directory.mkdir(parents=True, exist_ok=True)
    end, pad = token_id(tokenizer, TURN_END), token_id(tokenizer, DOCUMENT_END)
    weights = {name: value.detach().cpu().bfloat16() for name, value in model.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    _write_json(directory / "config.json", model.shape.config(end, pad))
    generation = {"do_sample": False, "eos_token_id": [end, pad], "pad_token_id": pad}
    _write_json(directory / "generation_config.json", generation)
    tokenizer.save(str(directory / "tokenizer.json"))
    _write_json(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": None,
            "eos_token": TURN_END,
            "pad_token": DOCUMENT_END,
            "model_max_length": model.shape.context,
            "clean_up_tokenization_spaces": False,
        },
    )
    shutil.copyfile(TEMPLATE_PATH, directory / "chat_template.jinja")


def disagreements(
    model: Llama, directory: Path, items: Sequence[Item], max_tokens: int = 48
) -> list[str]:
    """The prompts that transformers, in float32, renders or continues otherwise than `model`."""
    tokenizer: Any = AutoTokenizer.from_pretrained(directory)
    reference: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    reference.to(model.cos.device).eval()
    ends = (tokenizer.eos_token_id, tokenizer.pad_token_id)
    differing: list[str] = []
    for item in items:
        text = tokenizer.apply_chat_template(
            list(item.messages), tools=list(item.tools), tokenize=False, add_generation_prompt=True
        )
        ids = tokenizer(text)["input_ids"]
        (ours,) = greedy(model, [ids], max_tokens, ends)
        prompt = torch.tensor([ids], device=model.cos.device)
        out = reference.generate(prompt, max_new_tokens=max_tokens, do_sample=False)
        theirs = [token for token in out[0, len(ids) :].tolist() if token not in ends]
        if text != prompt_text(item) or ours != theirs:
            differing.append(text)
    return differing


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
