"""How a step's prefill is cut into tiles, decided on the GPU once for all layers.

A tile is a run of adjacent queries of one sequence: what one program of the attention kernel
computes for one key head. The query heads that share the key head are rows of the same matrix.

    rows of a tile:   | query 0: heads 0 .. group-1 | query 1: heads 0 .. group-1 | ... | unused |

Which sequences there are is in device memory, and a captured graph must serve any of them, so the
list of tiles has as many places as any step of its size can need. Tiles with many keys come
first: the short ones then fill what the long ones leave idle at the end. Places are found without
sorting, as the number of tiles that go before, which is a closed formula for each sequence.

Only sequences with two queries or more have tiles. The module knows nothing of heads or pools.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from legato.kernels.gpu.attention_batch import AttentionBatch


@dataclass(frozen=True, slots=True)
class PrefillConfig:
    """How the attention kernel is built; any choice is correct.

    Attributes:
        block_m: rows of a tile: queries x query heads that share a key head
        block_n: keys that are computed at once
        num_slots: on Hopper GPUs, where some warps may load what others compute with: how many
            times 128 keys are in shared memory at once, at least 2; 0: all warps do the same.
            Needs block_m 128. Where a model does not allow it, the other fields hold.
    """

    block_m: int = 128
    block_n: int = 64
    num_warps: int = 8
    num_stages: int = 3
    num_slots: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PrefillWork:
    """The list of tiles of a step.

    Attributes:
        tiles: [max_tiles, 4] int32: sequence, row of the tile's first query, number of queries,
            position of the first query in its sequence; places without a tile have no queries
        num_tiles: [1] int32
        queries_per_tile: queries of a tile that is full
        config: what the tiles are cut for
    """

    tiles: torch.Tensor
    num_tiles: torch.Tensor
    queries_per_tile: int
    config: PrefillConfig

    @staticmethod
    def allocate(
        max_sequences: int,
        max_tokens: int,
        group_size: int,
        config: PrefillConfig,
        device: torch.device,
    ) -> "PrefillWork":
        """Room for any batch of at most that many sequences and rows.

        Args:
            group_size: query heads that share a key head

        Raises:
            ValueError: a query's rows are more than a tile has
        """
        if group_size > config.block_m:
            raise ValueError(f"{group_size} query heads per key head: at most {config.block_m}")
        queries_per_tile = config.block_m // group_size
        places = max_num_tiles(max_tokens, max_sequences, queries_per_tile)
        tiles = torch.empty((max(places, 1), 4), dtype=torch.int32, device=device)
        num_tiles = torch.empty(1, dtype=torch.int32, device=device)
        return PrefillWork(tiles, num_tiles, queries_per_tile, config)


def max_num_tiles(num_rows: int, max_sequences: int, queries_per_tile: int) -> int:
    """The most tiles that any division of the rows among the sequences gives."""
    num_prefills = min(max_sequences, num_rows // 2)
    return (num_rows + num_prefills * (queries_per_tile - 1)) // queries_per_tile


def plan_prefill(batch: AttentionBatch, work: PrefillWork) -> None:
    """Writes the step's tiles into `work`, with nothing read by the host."""
    _plan_kernel[(work.tiles.shape[0],)](
        batch.query_starts,
        batch.context_lens,
        work.tiles,
        work.num_tiles,
        batch.max_sequences,
        QUERIES_PER_TILE=work.queries_per_tile,
        BLOCK_SEQUENCES=triton.next_power_of_2(batch.max_sequences),
        num_warps=4 if batch.max_sequences > 128 else 1,
    )


@triton.jit(do_not_specialize=["num_sequences"])
def _plan_kernel(
    query_starts,  # [num_sequences + 1]
    context_lens,  # [num_sequences]
    tiles,  # [programs, 4]
    total,  # [1]
    num_sequences,
    QUERIES_PER_TILE: tl.constexpr,
    BLOCK_SEQUENCES: tl.constexpr,
):
    """Program t finds tile t in the order of the batch, and its place in the list."""
    tile = tl.program_id(0)
    sequence = tl.arange(0, BLOCK_SEQUENCES)
    exists = sequence < num_sequences
    first_row = tl.load(query_starts + sequence, mask=exists, other=0)
    num_queries = tl.load(query_starts + sequence + 1, mask=exists, other=0) - first_row
    context_len = tl.load(context_lens + sequence, mask=exists, other=0)
    num_tiles = tl.where(num_queries > 1, tl.cdiv(num_queries, QUERIES_PER_TILE), 0)
    last_tile = tl.cumsum(num_tiles, 0)  # exclusive
    is_mine = (last_tile - num_tiles <= tile) & (tile < last_tile)

    if tile == 0:
        tl.store(total, tl.sum(num_tiles, 0))

    # Of the one sequence that the tile belongs to; zeros where there is none.
    my_sequence = tl.sum(tl.where(is_mine, sequence, 0), 0)
    my_first_row = tl.sum(tl.where(is_mine, first_row, 0), 0)
    my_num_queries = tl.sum(tl.where(is_mine, num_queries, 0), 0)
    my_context_len = tl.sum(tl.where(is_mine, context_len, 0), 0)
    index = tl.sum(tl.where(is_mine, tile - last_tile + num_tiles, 0), 0)
    first_query = index * QUERIES_PER_TILE
    tile_queries = tl.minimum(my_num_queries - first_query, QUERIES_PER_TILE)
    first_position = my_context_len - my_num_queries + first_query

    # Tile j of a sequence sees start + min((j + 1) * QUERIES_PER_TILE, queries) keys. Of equally
    # long tiles those of earlier sequences go first: then a tile needs just one key less.
    start = context_len - num_queries
    num_keys = first_position + tile_queries - tl.where(sequence < my_sequence, 1, 0)
    first_longer = tl.maximum(num_keys - start, 0) // QUERIES_PER_TILE
    num_longer = tl.maximum(num_tiles - 1 - first_longer, 0)
    num_longer += tl.where((num_tiles > 0) & (context_len > num_keys), 1, 0)
    num_before = tl.sum(num_longer, 0)

    place = tl.where(tile_queries > 0, num_before, tile)
    tl.store(tiles + place * 4, my_sequence)
    tl.store(tiles + place * 4 + 1, my_first_row + first_query)
    tl.store(tiles + place * 4 + 2, tile_queries)
    tl.store(tiles + place * 4 + 3, first_position)
