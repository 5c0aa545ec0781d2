import pytest
import torch

from legato.kernels import step_advance as twin
from legato.kernels.gpu.step_advance import advance_, take_sampled_
from legato.tests.kernels.gpu.device import DEVICE


@pytest.mark.parametrize("count", [1, 7, 1500])
def test_tokens_with_a_source_are_taken_from_the_samples(count: int) -> None:
    sampled = torch.randint(0, 1 << 17, (64,), device=DEVICE)
    sources = torch.randint(-3, 64, (count,), dtype=torch.int32, device=DEVICE)
    tokens = torch.randint(0, 1 << 17, (count,), dtype=torch.int32, device=DEVICE)
    wanted = tokens.clone()
    twin.take_sampled_(wanted, sources, sampled)
    take_sampled_(tokens, sources, sampled)
    assert torch.equal(tokens, wanted)
    kept = sources < 0
    assert torch.equal(wanted[~kept], sampled[sources[~kept].long()].int())


@pytest.mark.parametrize("count", [1, 7, 1500])
def test_a_step_advances_rows_in_use(count: int) -> None:
    def state() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        lens = (torch.arange(count) * 3 % 5).to(torch.int32).to(DEVICE)
        positions = (torch.arange(count) * 7 % 11).to(DEVICE)
        return lens, positions, torch.full((count,), -1, dtype=torch.int32, device=DEVICE)

    wanted, found = state(), state()
    twin.advance_(*wanted)
    advance_(*found)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    before = state()[0]
    assert torch.equal(found[0], torch.where(before > 0, before + 1, before))
    assert found[2].tolist() == list(range(count))
