"""A step computed by the GPU's kernels - here in Triton's interpreter, where there is no GPU -
samples what the plain-torch twins sample."""

from pathlib import Path

import pytest
import torch

from legato.engine.batch import ScheduledBatch
from legato.engine.kv_cache import allocate_pool
from legato.engine.model_runner import ModelRunner
from legato.engine.sampling_params import SamplingParams
from legato.engine.step_halves import BodySize, StepHalves
from legato.engine.step_state import StepLimits, StepState
from legato.kernels import torch_kernels
from legato.kernels.backend import AttentionShape, Kernels
from legato.kernels.gpu import triton_kernels
from legato.tests.checkpoints import make_checkpoint
from legato.tests.engine.batches import build_runner, part, random_tokens, sampling_input
from legato.tests.family_traps import TRAPS
from legato.tests.general_traps import GENERAL_TRAPS
from legato.tests.kernels.gpu.device import DEVICE

# The interpreter's numpy warns of random bits that wrap around, and of what padding rows hold.
pytestmark = [
    pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),
]

BLOCK_SIZE = 8
LIMITS = StepLimits(max_num_seqs=6, max_num_batched_tokens=64, max_blocks=8, vocab_size=97)
# From which every kernel can be computed.
SIZES = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
PADDED = BodySize(num_tokens=40, num_sequences=6, num_samples=6, is_decode=False)


FAMILIES = ("qwen3", "phi3", "gemma2", "gemma3", "glm4_moe", "gpt_oss", "deepseek_v3")
GENERAL = "cohere2"  # computed by transformers' code


@pytest.fixture(scope="module", params=[*FAMILIES, GENERAL])
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelRunner:
    directory: Path = tmp_path_factory.mktemp("model")
    if request.param == GENERAL:
        GENERAL_TRAPS[request.param].make(directory)
    else:
        trap = TRAPS[request.param]
        make_checkpoint(directory, trap.family, **trap.overrides | SIZES)
    return build_runner(directory, block_size=BLOCK_SIZE, device="auto", dtype="float32")


class Engine:
    """One step after the other on one set of kernels."""

    def __init__(self, runner: ModelRunner, kernels: Kernels) -> None:
        config = runner.model_config
        self.kernels = kernels
        self.state = StepState(LIMITS, kernels, DEVICE)
        shape = AttentionShape(
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
            LIMITS.max_num_seqs,
            config.windows,
            config.latent_dim,
        )
        network = runner.model.network
        self.halves = StepHalves(network, config.hidden_size, kernels, self.state, shape)
        self.pool = allocate_pool(runner.kv_spec, 30, DEVICE).fill_(float("nan"))

    def step(self, batch: ScheduledBatch, size: BodySize | None = None) -> torch.Tensor:
        """Logits of the sampling sequences, in batch order; `size` None: without padding."""
        with torch.inference_mode():
            shape = self.state.fill(batch)
            exact = BodySize(
                shape.num_tokens, shape.num_sequences, shape.num_samples, shape.is_decode
            )
            self.halves.body(size or exact, self.pool)
            logits = self.halves.tail((size or exact).num_samples)
        return logits[torch.from_numpy(self.state.sample_order).to(DEVICE)]


def steps() -> list[tuple[ScheduledBatch, BodySize | None]]:
    tokens = [random_tokens(30, seed) for seed in range(3)]
    drawn = sampling_input(SamplingParams(temperature=0.8, top_k=20), seed=3)
    return [
        (
            ScheduledBatch((part(tokens[0], 0, 21, [4, 9, 2]), part(tokens[1], 0, 3, [1, 3, 7]))),
            PADDED,
        ),
        (
            ScheduledBatch(
                (
                    part(tokens[0], 21, 22, [4, 9, 2]),
                    part(tokens[1], 3, 20, [1, 3, 7]),
                    part(tokens[2], 0, 9, [20, 11], drawn),
                )
            ),
            None,
        ),
        (
            ScheduledBatch(
                (part(tokens[2], 9, 10, [20, 11], drawn), part(tokens[0], 22, 23, [4, 9, 2]))
            ),
            BodySize.of_decode(4),
        ),
    ]


def test_the_gpus_kernels_give_what_plain_torch_gives(runner: ModelRunner) -> None:
    plain, triton = Engine(runner, torch_kernels), Engine(runner, triton_kernels)
    for batch, size in steps():
        wanted, found = plain.step(batch), triton.step(batch, size)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        order = torch.from_numpy(triton.state.sample_order)
        assert (
            triton.state.sampled.cpu()[order].tolist() == plain.state.sampled.cpu()[order].tolist()
        )
