"""Makes a small model of Llama's shape: random weights, byte-level BPE, a chat template.

    python tests/tools/make_random_model.py DIRECTORY [--seed N]

What it says makes no sense, but everything around the words is real: the layout is Hugging Face's,
and transformers loads it as it stands. The same seed gives the same weights and the same tokenizer.
"""

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""

SUBJECTS = ("The pianist", "A quiet singer", "My neighbour", "Every student", "The old conductor")
VERBS = ("plays", "remembers", "writes down", "hums", "explains", "listens to", "counts")
OBJECTS = ("a slow melody", "the second movement", "this short song", "nine bars", "two chords")
ENDINGS = (
    "without a pause between two notes.",
    "in the morning, before the others come.",
    "because the room is empty at 8 o'clock!",
    "and asks: what comes next?",
)
CONSONANTS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "st", "t", "th", "v")
VOWELS = ("a", "e", "i", "o", "u", "ea", "ou")


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomModelShape:
    """Sizes of the model; the defaults make less than a megabyte of bfloat16 weights."""

    vocab_size: int = 1024
    hidden_size: int = 64
    intermediate_size: int = 192
    num_layers: int = 2
    num_heads: int = 4
    num_kv_heads: int = 2
    max_position_embeddings: int = 2048


def sentences(count: int, seed: int) -> list[str]:
    """Sentences to train the tokenizer on, each with a made-up name for variety."""
    draw = random.Random(seed)
    parts = (SUBJECTS, VERBS, OBJECTS, ENDINGS)
    return [
        " ".join([*(draw.choice(part) for part in parts), *_made_up_name(draw)])
        for _ in range(count)
    ]


def _made_up_name(draw: random.Random) -> list[str]:
    return [
        "".join(draw.choice(CONSONANTS) + draw.choice(VOWELS) for _ in range(draw.randint(2, 4)))
        for _ in range(2)
    ]


def train_tokenizer(shape: RandomModelShape, seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, which can therefore encode any text, with chat tokens.

    Raises:
        ValueError: the sentences do not hold enough merges for the vocabulary, and the model
            would produce ids that the tokenizer does not know.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocab_size,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(2000, seed), trainer)
    if tokenizer.get_vocab_size() != shape.vocab_size:
        raise ValueError(f"a vocabulary of {shape.vocab_size} cannot be made from these sentences")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=shape.max_position_embeddings,
    )


def make_random_model(
    directory: Path, shape: RandomModelShape = RandomModelShape(), seed: int = 0
) -> None:
    """Writes the model into `directory`, which is made if it is missing."""
    tokenizer = train_tokenizer(shape, seed)
    vocabulary = tokenizer.get_vocab()
    end_ids = [vocabulary[TURN_END], vocabulary[END_OF_TEXT]]
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        max_position_embeddings=shape.max_position_embeddings,
        # Wide enough that the likeliest next tokens differ: near-uniform logits hide mistakes.
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=end_ids,
        pad_token_id=end_ids[1],
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).bfloat16()
    model.generation_config = GenerationConfig(eos_token_id=end_ids, pad_token_id=end_ids[1])
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    for file in directory.iterdir():
        file.chmod(0o644)  # safetensors files are written for their owner alone


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes a small model with random weights.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make_random_model(arguments.directory, seed=arguments.seed)


if __name__ == "__main__":
    main()
