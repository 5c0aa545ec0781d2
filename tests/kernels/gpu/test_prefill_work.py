import pytest
import torch

from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.prefill_work import (
    PrefillConfig,
    PrefillWork,
    max_num_tiles,
    plan_prefill,
)
from legato.tests.kernels.gpu.device import DEVICE

CONFIG = PrefillConfig(block_m=16)
QUERIES_PER_TILE = 8

BATCHES = [
    [],
    [(1, 9)],
    [(8, 8)],
    [(2, 2), (2, 30), (1, 7), (33, 33)],
    [(16, 16), (0, 0), (16, 16), (9, 40), (16, 16)],
    [(40, 40), (17, 90), (1, 3), (0, 0)],
]


def make_batch(lens: list[tuple[int, int]]) -> AttentionBatch:
    num_queries = torch.tensor([0, *(pair[0] for pair in lens)])
    return AttentionBatch(
        num_queries.cumsum(0).to(DEVICE, torch.int32),
        torch.tensor([pair[1] for pair in lens], dtype=torch.int32, device=DEVICE),
        torch.zeros((len(lens), 1), dtype=torch.int32, device=DEVICE),
    )


def tiles_of(lens: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Sequence, first row, queries and first position of all tiles, longest first."""
    tiles, row = [], 0
    for sequence, (num_queries, context_len) in enumerate(lens):
        for first in range(0, num_queries if num_queries > 1 else 0, QUERIES_PER_TILE):
            count = min(QUERIES_PER_TILE, num_queries - first)
            tiles.append((sequence, row + first, count, context_len - num_queries + first))
        row += num_queries
    return sorted(tiles, key=lambda tile: (-tile[2] - tile[3], tile[0]))


@pytest.mark.parametrize("lens", BATCHES[1:])
def test_all_queries_of_prefills_are_in_tiles_with_the_longest_first(
    lens: list[tuple[int, int]],
) -> None:
    work = PrefillWork.allocate(len(lens), sum(pair[0] for pair in lens), 2, CONFIG, DEVICE)
    plan_prefill(make_batch(lens), work)
    wanted = tiles_of(lens)
    assert [tuple(tile) for tile in work.tiles[: len(wanted)].tolist()] == wanted
    assert not work.tiles[len(wanted) :, 2].any()
    assert work.num_tiles.item() == len(wanted)


def test_a_list_of_tiles_is_written_anew_each_step() -> None:
    work = PrefillWork.allocate(5, 200, 2, CONFIG, DEVICE)
    for lens in BATCHES[:0:-1]:
        plan_prefill(make_batch(lens), work)
        wanted = tiles_of(lens)
        assert [tuple(tile) for tile in work.tiles[: len(wanted)].tolist()] == wanted
        assert not work.tiles[len(wanted) :, 2].any()


@pytest.mark.parametrize("lens", BATCHES)
def test_there_are_places_for_all_tiles(lens: list[tuple[int, int]]) -> None:
    places = max_num_tiles(sum(pair[0] for pair in lens), len(lens), QUERIES_PER_TILE)
    assert places >= len(tiles_of(lens))


def test_places_are_no_more_than_the_worst_batch_needs() -> None:
    assert max_num_tiles(30, 3, QUERIES_PER_TILE) == len(tiles_of([(10, 10), (9, 9), (11, 11)]))


def test_a_group_larger_than_a_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="17 query heads"):
        PrefillWork.allocate(1, 16, 17, CONFIG, DEVICE)
