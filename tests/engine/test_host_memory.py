from legato.engine.host_memory import available_memory_bytes


def test_the_memory_left_is_more_than_a_megabyte_and_less_than_an_exabyte() -> None:
    assert 1 << 20 < available_memory_bytes() < 1 << 60
