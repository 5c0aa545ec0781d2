import hashlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from legato.engine.block_hash import block_hashes, child_hash, extend_hashes, root_hash

tokens = st.lists(st.integers(0, 200_000), max_size=40)


def test_hashes_are_the_documented_sha256_chain() -> None:
    root = hashlib.sha256(b"legato.block_hash.v1\0tenant").digest()
    first = hashlib.sha256(root + struct.pack("<2I", 7, 8)).digest()
    second = hashlib.sha256(first + struct.pack("<2I", 9, 1)).digest()
    assert block_hashes([7, 8, 9, 1, 5], 2, b"tenant") == [first, second]
    assert root_hash(b"tenant") == root


def test_a_partial_block_has_no_hash() -> None:
    assert block_hashes([1, 2, 3], 4) == []


def test_salt_and_parent_change_every_hash() -> None:
    plain, salted = block_hashes([1, 2, 3, 4], 2), block_hashes([1, 2, 3, 4], 2, b"x")
    assert set(plain).isdisjoint(salted)
    assert child_hash(plain[0], [3, 4]) != child_hash(salted[0], [3, 4])


@given(tokens, tokens, st.integers(1, 5))
def test_equal_hashes_mean_equal_prefixes(one: list[int], two: list[int], block_size: int) -> None:
    first, second = block_hashes(one, block_size), block_hashes(two, block_size)
    for index in range(min(len(first), len(second))):
        end = (index + 1) * block_size
        assert (first[index] == second[index]) == (one[:end] == two[:end])


@given(tokens, st.integers(1, 5), st.data())
def test_extending_in_pieces_gives_the_same_chain(
    token_ids: list[int], block_size: int, data: st.DataObject
) -> None:
    whole = block_hashes(token_ids, block_size, b"s")
    hashes: list[bytes] = []
    extend_hashes(hashes, token_ids, block_size, b"s", data.draw(st.integers(0, len(whole))))
    extend_hashes(hashes, token_ids, block_size, b"s", len(whole))
    assert hashes == whole
