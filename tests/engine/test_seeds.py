from legato.engine.seeds import sequence_seed


def test_the_first_sequence_keeps_the_seed_and_the_others_differ() -> None:
    seeds = {sequence_seed(seed, index) for seed in range(10) for index in range(10)}
    assert sequence_seed(7, 0) == 7
    assert len(seeds) == 100


def test_the_seed_of_a_sequence_is_the_same_in_every_process() -> None:
    assert sequence_seed(7, 1) == 8153540708738543978
    assert all(-(1 << 63) <= sequence_seed(-5, index) < 1 << 63 for index in range(50))
