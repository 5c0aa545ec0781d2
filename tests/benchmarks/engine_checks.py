"""Whether the engine on a GPU computes what transformers computes, with the built-in model."""

import random
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from legato.engine.batch import SamplingInput, ScheduledBatch, ScheduledSequence
from legato.engine.builtin_model import builtin_model_directory
from legato.engine.config import EngineConfig
from legato.engine.kv_cache import allocate_pool
from legato.engine.llm import LLM
from legato.engine.model_runner import ModelRunner
from legato.engine.sampling_params import SamplingParams

MODEL = str(builtin_model_directory())
GREEDY = SamplingParams(temperature=0, max_tokens=48, ignore_eos=True)
_LENGTHS = (1, 2, 17, 63, 64, 65, 128, 300, 700, 1000)
_VOCABULARY = 2000


def sample_prompts() -> list[list[int]]:
    """Token ids, of lengths around the sizes of blocks and tiles."""
    rng = random.Random(1)
    return [[rng.randrange(_VOCABULARY) for _ in range(length)] for length in _LENGTHS]


def small_llm(device: str, **options: Any) -> LLM:
    """The built-in model in float32, unless the options say otherwise."""
    settings = {"dtype": "float32", "kv_cache_memory_bytes": 1 << 30, **options}
    return LLM(MODEL, device=device, skip_tokenizer_init=True, **settings)


def greedy_tokens(llm: LLM) -> list[list[int]]:
    """The answers to `sample_prompts`."""
    outputs = llm.generate(sample_prompts(), GREEDY, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def transformers_tokens() -> list[list[int]]:
    """What transformers answers to `sample_prompts` on the GPU, in float32."""
    model: Any = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    model = model.cuda()
    model.generation_config.eos_token_id = None
    answers = []
    for prompt in sample_prompts():
        ids = torch.tensor([prompt], device="cuda")
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=48, do_sample=False
        )
        answers.append(output[0, len(prompt) :].tolist())
    return answers


def bfloat16_error_ratio() -> float:
    """Error of our logits against float64, over that of transformers in bfloat16."""
    runner = ModelRunner.build(
        EngineConfig.from_options({"model": MODEL, "dtype": "bfloat16", "device": "cuda"})
    )
    runner.attach_pool(allocate_pool(runner.kv_spec, 4, torch.device("cuda")))
    models: list[Any] = [
        AutoModelForCausalLM.from_pretrained(MODEL, dtype=dtype)
        for dtype in (torch.float64, torch.bfloat16)
    ]
    models = [model.cuda() for model in models]
    rng, ours, theirs = random.Random(2), [], []
    for length in range(150, 166):
        tokens = [rng.randrange(_VOCABULARY) for _ in range(length)]
        ids = torch.tensor([tokens], device="cuda")
        with torch.inference_mode():
            exact, rounded = (model(ids).logits[0, -1].double() for model in models)
        ours.append((_logits(runner, tokens).double() - exact).norm())
        theirs.append((rounded - exact).norm())
    return float(torch.stack(ours).norm() / torch.stack(theirs).norm())


def _logits(runner: ModelRunner, tokens: list[int]) -> torch.Tensor:
    sequence = ScheduledSequence(
        seq_id=1,
        token_ids=tuple(tokens),
        start=0,
        block_table=(2, 0, 3, 1),
        sampling=SamplingInput(GREEDY, 0, 0, (), (), ()),
    )
    return runner.logits(ScheduledBatch((sequence,)))[0]
