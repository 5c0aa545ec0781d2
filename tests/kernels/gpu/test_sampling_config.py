import pytest

from legato.kernels.gpu.sampling_config import MAX_CHUNKS, candidates, choose_config

SERVED_VOCAB_SIZES = (32_000, 128_256, 151_936, 262_144)


@pytest.mark.parametrize("vocab_size", SERVED_VOCAB_SIZES)
@pytest.mark.parametrize("num_rows", [1, 3, 64, 1024])
def test_chosen_configs_cover_the_vocabulary_in_few_enough_chunks(
    num_rows: int, vocab_size: int
) -> None:
    for config in (choose_config(num_rows, vocab_size), *candidates(num_rows, vocab_size)):
        assert -(-vocab_size // (config.block * config.blocks_per_chunk)) <= MAX_CHUNKS
