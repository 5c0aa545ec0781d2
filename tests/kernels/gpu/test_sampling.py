import pytest
import torch

from legato.kernels import sampling as twin
from legato.kernels.gpu import sampling as gpu
from legato.kernels.gpu.sampling import sample
from legato.kernels.gpu.sampling_config import SamplingConfig
from legato.tests.kernels.asked_rows import Column, asked_rows
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, HAS_GPU

SMALL = SamplingConfig(block=128, blocks_per_chunk=2, num_warps=4, candidate_block=32)
VOCAB_SIZE = 300


@pytest.mark.parametrize("dtype", DTYPES)
def test_greedy_rows_take_the_likeliest_token_and_the_lowest_of_equals(dtype: torch.dtype) -> None:
    logits = torch.randn(3, VOCAB_SIZE, device=DEVICE).clamp(-2, 2).to(dtype)
    logits[0, [17, 40, 290]] = 3.0
    logits[1, VOCAB_SIZE - 1] = 3.0
    logits[2] = -0.0
    logits[2, [20, 280]] = 0.0
    token_ids = sample(logits, asked_rows(3, VOCAB_SIZE, DEVICE), config=SMALL)
    assert token_ids.tolist() == [17, VOCAB_SIZE - 1, 0]


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # of numpy, when interpreted
def test_greedy_and_drawing_rows_share_a_batch() -> None:
    logits = torch.randn(5, VOCAB_SIZE, device=DEVICE) * 2
    rows = asked_rows(
        5,
        VOCAB_SIZE,
        DEVICE,
        temperatures=[1, 0, 0.4, 1e-38, 1.5],
        seeds=[3, 4, -(1 << 62), 6, 7],
        positions=[0, 1, 1 << 33, 3, 4],
        top_ks=[VOCAB_SIZE, 5, VOCAB_SIZE, 40, 2],
    )
    before = logits.clone()
    token_ids = sample(logits, rows, config=SMALL)
    assert torch.equal(token_ids, twin.sample(logits, rows))
    assert torch.equal(logits, before)


def test_a_row_draws_the_same_alone_and_in_other_chunks() -> None:
    logits = torch.randn(3, VOCAB_SIZE, device=DEVICE)
    asked = {"temperatures": 0.9, "top_ks": 30, "top_ps": 0.8, "seeds": 5}
    together = asked_rows(3, VOCAB_SIZE, DEVICE, **{name: [v] * 3 for name, v in asked.items()})
    alone = asked_rows(1, VOCAB_SIZE, DEVICE, **{name: [value] for name, value in asked.items()})
    config = SamplingConfig(block=512, blocks_per_chunk=1, num_warps=4, candidate_block=64)
    expected = sample(logits, together, config=SMALL)
    assert torch.equal(sample(logits[2:], alone, config=config), expected[2:])


def test_rows_beyond_a_slab_have_their_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "MAX_SLAB_ROWS", 2)
    logits = torch.randn(3, VOCAB_SIZE, device=DEVICE)
    rows = asked_rows(
        3, VOCAB_SIZE, DEVICE, temperatures=[0, 1, 0.7], top_ks=[1, 9, 4], seeds=[1, 2, 3]
    )
    assert torch.equal(sample(logits, rows, config=SMALL), twin.sample(logits, rows))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of numpy, when interpreted
def test_rows_without_numbers_end_in_some_token() -> None:
    logits = torch.full((4, VOCAB_SIZE), float("-inf"), device=DEVICE)
    logits[2:] = float("nan")
    logits[3, 7] = float("inf")
    settings: dict[str, Column] = {
        "temperatures": [0, 1, 1, 1],
        "top_ks": [1, 3, 3, 3],
        "top_ps": [1, 0.5, 1, 1],
    }
    token_ids = sample(logits, asked_rows(4, VOCAB_SIZE, DEVICE, **settings), config=SMALL)
    assert token_ids.tolist() == [0, 0, 0, 7]


def test_logits_may_be_a_view_of_wider_rows() -> None:
    wide = torch.randn(2, VOCAB_SIZE + 20, device=DEVICE)
    wide[:, VOCAB_SIZE:] = 100.0
    logits = wide[:, :VOCAB_SIZE]
    token_ids = sample(logits, asked_rows(2, VOCAB_SIZE, DEVICE), config=SMALL)
    assert torch.equal(token_ids, logits.argmax(dim=-1))


@pytest.mark.gpu
def test_a_graph_serves_whatever_its_rows_ask_for_later() -> None:
    assert HAS_GPU
    logits = torch.randn(64, 128_256, device=DEVICE) * 3
    rows = asked_rows(64, 128_256, DEVICE)
    sample(logits, rows)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        token_ids = sample(logits, rows)
    graph.replay()
    assert torch.equal(token_ids, logits.argmax(dim=-1))
    rows.temperatures.fill_(0.8)
    rows.top_ks.fill_(40)
    rows.seeds.copy_(torch.arange(64))
    logits.normal_(std=3)
    graph.replay()
    assert torch.equal(token_ids, twin.sample(logits, rows))
