import torch

from legato.kernels.random import exponential_noise, philox_4x32


def words(*values: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor([value]) for value in values)


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> list[int]:
    c0, c1, c2, c3 = words(*counter)
    k0, k1 = words(*key)
    return [int(word) for word in philox_4x32((c0, c1, c2, c3), (k0, k1))]


def test_words_are_those_of_the_published_test_vectors() -> None:
    full = 0xFFFFFFFF
    assert philox((0, 0, 0, 0), (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox((full,) * 4, (full,) * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    assert philox(pi, (0xA4093822, 0x299F31D0)) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def test_noise_depends_on_seed_and_position_alone() -> None:
    seeds, positions = torch.tensor([7, -3, 7]), torch.tensor([0, 5, 1])
    together = exponential_noise(seeds, positions, 10)
    for row in range(3):
        alone = exponential_noise(seeds[row : row + 1], positions[row : row + 1], 10)
        assert torch.equal(alone[0], together[row])
    assert not torch.equal(together[0], together[2])
    assert torch.equal(exponential_noise(seeds, positions, 7), together[:, :7])


def test_all_bits_of_a_seed_count() -> None:
    seeds = torch.tensor([1, 1 + (1 << 40), -(1 << 63)])
    noise = exponential_noise(seeds, torch.zeros(3, dtype=torch.int64), 8)
    assert len({tuple(row.tolist()) for row in noise}) == 3


def test_noise_is_exponential_with_mean_one() -> None:
    noise = exponential_noise(torch.arange(50), torch.full((50,), 3), 4001)
    assert bool((noise > 0).all())
    assert bool(noise.isfinite().all())
    assert abs(float(noise.mean()) - 1) < 0.01
    assert abs(float(noise.var()) - 1) < 0.03
    assert abs(float((noise < 0.1).float().mean()) - 0.09516) < 0.003
