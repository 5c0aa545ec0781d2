"""How the rows of a step are shared out among the programs of `legato.kernels.gpu.sampling`.

    row:  [ chunk 0                 ][ chunk 1                 ][ chunk 2          ]
          [ block ][ block ][ block ][ block ][ block ][ block ][ block ][ block ]

A chunk is what one program works on, block after block. No choice here changes what is sampled.
"""

from dataclasses import dataclass, replace

import triton

# Rows that share scratch memory, 12 bytes a token; so many keep a GPU busy.
MAX_SLAB_ROWS = 128
MAX_CHUNKS = 256
_GOOD_NUM_PROGRAMS = 1056  # 8 for each multiprocessor of an H200


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """How a row is shared out.

    Attributes:
        block: tokens that a program has in registers, a power of two
        blocks_per_chunk: blocks that a program works on, one after the other
        num_warps: of the passes over the vocabulary
        candidate_block: candidates that the last pass has in registers
        num_finish_warps: of the last pass
    """

    block: int
    blocks_per_chunk: int
    num_warps: int
    candidate_block: int = 2048
    num_finish_warps: int = 8


def choose_config(num_rows: int, vocab_size: int) -> SamplingConfig:
    """Few rows: as many programs as there are small blocks. Many rows: a few blocks for each."""
    num_rows = min(num_rows, MAX_SLAB_ROWS)
    block = 1024 if num_rows * triton.cdiv(vocab_size, 1024) <= _GOOD_NUM_PROGRAMS else 2048
    return _share_out(num_rows, vocab_size, block, _GOOD_NUM_PROGRAMS)


def candidates(num_rows: int, vocab_size: int) -> list[SamplingConfig]:
    """What is worth measuring for a new shape."""
    num_rows = min(num_rows, MAX_SLAB_ROWS)
    return [
        replace(_share_out(num_rows, vocab_size, block, num_programs), num_warps=num_warps)
        for block, num_warps in ((1024, 4), (2048, 4), (2048, 8), (4096, 8))
        for num_programs in (528, 1056, 2112)
    ]


def _share_out(num_rows: int, vocab_size: int, block: int, num_programs: int) -> SamplingConfig:
    num_blocks = triton.cdiv(vocab_size, block)
    blocks_per_chunk = max(
        triton.cdiv(num_rows * num_blocks, num_programs), triton.cdiv(num_blocks, MAX_CHUNKS)
    )
    # More than 8 tokens a lane: the race takes too many registers for two programs at a time.
    return SamplingConfig(block, blocks_per_chunk, num_warps=block // 256)
