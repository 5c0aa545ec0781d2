"""Who reads what in a step's decode attention: all tiles of all sequences, shared out evenly.

An item is a sequence that has one query. Its context, as far as its window reaches, is cut into
tiles, and each KV head has a piece of its own. All pieces in a row are one line of tiles; the
fixed number of programs that fill the GPU take equal spans of it, whatever the contexts' lengths:

    pieces    | item 0 head 0 | item 0 head 1 | item 1 head 0  ...            | item n head h |
    tiles     0 1 2 3 4 5 6 ...
    programs  |  program 0 |  program 1 |  program 2 |  ...   |  the last |  (rest: no tiles)

Whole pieces inside a span are finished by its program. What a span's edges cut off goes to the
workspace, where a program has two places: one for the piece that its span begins in the middle of,
one for the piece that its span ends in the middle of.

The plan is computed on the device from the step's batch, so that a CUDA graph can be replayed with
other sequences. This module does not know how a piece is computed.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.device import num_multiprocessors

ITEM_FIELDS = tl.constexpr(4)  # sequence, row of its query, context length, first tile of the line
# First tile, tile behind the last, tiles of a full span, item of the first tile, and the fields of
# that item: a program that starts with them waits for one load less.
SPAN_FIELDS = tl.constexpr(8)
# A window that no context outgrows; twice it still is an int32's positive range.
NO_WINDOW = 1 << 30
_REGISTERS = 65536  # of a multiprocessor, given to threads in eights
# Elements of the comparison of spans with sequences in one planning program.
_PLAN_ELEMENTS = 8192


@dataclass(frozen=True, slots=True)
class DecodeConfig:
    """How decode attention is laid out on the GPU: for tuning, without influence on what it means.

    Attributes:
        tile: tokens that a program loads at once; a power of two, at least 16
        num_stages: depth of the pipeline of loads; some of it is lost to the block table
        programs_per_multiprocessor: programs that should run side by side
        min_span_tokens: shorter spans cost more in merging than they gain, ...
        short_parts: ... but where no piece is cut into more parts than these
        swaps_operands: tokens instead of heads are the rows of the matrix products (wgmma)
        launches_early: programs are launched while the kernel before still runs
        prefetches: a piece's first tiles are asked for before the one before is stored
    """

    tile: int
    num_warps: int
    num_stages: int
    programs_per_multiprocessor: int
    min_span_tokens: int = 256
    short_parts: int = 8
    swaps_operands: bool = False
    launches_early: bool = True
    prefetches: bool = True

    @property
    def max_registers(self) -> int:
        """Of a thread, so that as many programs as planned fit on a multiprocessor."""
        threads = self.num_warps * 32 * self.programs_per_multiprocessor
        return min(255, _REGISTERS // threads // 8 * 8)


@dataclass(frozen=True, slots=True)
class DecodeShape:
    """What is known of decode steps before there is one.

    Attributes:
        max_sequences: of a batch, padding included
        kv_dtype: what the pool holds
        window: tokens that a query sees, itself included; None: all before it
    """

    max_sequences: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    kv_dtype: torch.dtype
    device: torch.device
    window: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DecodeWork:
    """Device memory of one kind of layer: the step's plan, and the workspace that layers take
    turns in.

    Attributes:
        items: [max_sequences, ITEM_FIELDS] int32, those of the step without a gap
        spans: [programs, SPAN_FIELDS] int32
        partial_outputs: [programs, 2, heads per kv_head, head_dim] float32
        partial_lses: [programs, 2, heads per kv_head] float32, log2 of the sum of weights
        arrivals: [programs] int32, finished parts of the piece that a program began and did not
            end; all 0 between launches
    """

    shape: DecodeShape
    config: DecodeConfig
    items: torch.Tensor
    spans: torch.Tensor
    partial_outputs: torch.Tensor
    partial_lses: torch.Tensor
    arrivals: torch.Tensor

    @classmethod
    def allocate(cls, shape: DecodeShape, config: DecodeConfig | None = None) -> "DecodeWork":
        """Memory for any step of this shape; `config` None: a good one."""
        config = config or default_config(shape)
        device, group = shape.device, shape.num_heads // shape.num_kv_heads
        programs = num_multiprocessors(device) * config.programs_per_multiprocessor

        def integers(*sizes: int) -> torch.Tensor:
            return torch.zeros(sizes, dtype=torch.int32, device=device)

        return cls(
            shape=shape,
            config=config,
            items=integers(shape.max_sequences, ITEM_FIELDS.value),
            spans=integers(programs, SPAN_FIELDS.value),
            partial_outputs=torch.empty(programs, 2, group, shape.head_dim, device=device),
            partial_lses=torch.empty(programs, 2, group, device=device),
            arrivals=integers(programs),
        )

    @property
    def window(self) -> int | None:
        """Tokens that a query sees, itself included; None: all before it."""
        return self.shape.window

    @property
    def num_programs(self) -> int:
        return self.spans.shape[0]


def default_config(shape: DecodeShape) -> DecodeConfig:
    """Tiles of 16 KB of keys with 16 bits, and enough of them in flight for the memory."""
    if shape.kv_dtype == torch.float32:  # no tensor cores: registers are what is short
        return DecodeConfig(tile=16, num_warps=4, num_stages=2, programs_per_multiprocessor=2)
    if shape.head_dim > 128:
        return DecodeConfig(tile=32, num_warps=4, num_stages=4, programs_per_multiprocessor=2)
    if shape.kv_dtype.itemsize == 1:
        return DecodeConfig(tile=64, num_warps=4, num_stages=4, programs_per_multiprocessor=3)
    if shape.head_dim > 64:
        return DecodeConfig(tile=64, num_warps=4, num_stages=3, programs_per_multiprocessor=2)
    return DecodeConfig(tile=64, num_warps=4, num_stages=5, programs_per_multiprocessor=3)


def candidates(kv_dtype: torch.dtype = torch.bfloat16) -> list[DecodeConfig]:
    """Configurations worth a measurement, for a head_dim of 128; the most promising come first."""
    if kv_dtype.itemsize == 1:
        layouts = ((64, 4, 4, 3), (64, 4, 5, 2), (64, 4, 7, 2), (128, 4, 3, 2), (128, 8, 3, 2))
        swapped = DecodeConfig(64, 4, 5, 2, swaps_operands=True)
        return [*(DecodeConfig(*layout) for layout in layouts), swapped]
    return [
        DecodeConfig(64, 4, 3, 2),
        DecodeConfig(64, 4, 3, 2, prefetches=False),
        DecodeConfig(64, 4, 3, 2, short_parts=16),
        DecodeConfig(64, 4, 3, 2, min_span_tokens=512),
        DecodeConfig(128, 4, 3, 1, swaps_operands=True),
    ]


def plan_decode(batch: AttentionBatch, work: DecodeWork) -> None:
    """Shares out a step's decode attention: once a step, for all layers with the work's window.

    Args:
        batch: at most the work's max_sequences; sequences with another number of queries than one
            and those without context have no part in it
    """
    shape, config = work.shape, work.config
    assert batch.max_sequences <= shape.max_sequences
    max_sequences = triton.next_power_of_2(shape.max_sequences)
    programs_planned = max(1, min(64, _PLAN_ELEMENTS // max_sequences))
    # Launches nothing early: attention kernels may read batch and plan before they wait for the
    # kernel before them.
    _plan_kernel[(triton.cdiv(work.num_programs, programs_planned),)](
        batch.query_starts,
        batch.context_lens,
        work.items,
        work.spans,
        batch.max_sequences,
        work.num_programs,
        shape.window or NO_WINDOW,
        max(1, config.min_span_tokens // config.tile),
        config.short_parts,
        TILE=config.tile,
        NUM_KV_HEADS=shape.num_kv_heads,
        MAX_SEQUENCES=max_sequences,
        PROGRAMS=programs_planned,
        num_warps=4,
    )


@triton.jit(
    do_not_specialize=["num_sequences", "num_programs", "window", "min_span_tiles", "short_parts"]
)
def _plan_kernel(
    query_starts,
    context_lens,
    items,
    spans,
    num_sequences,
    num_programs,
    window,
    min_span_tiles,
    short_parts,
    TILE: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    MAX_SEQUENCES: tl.constexpr,
    PROGRAMS: tl.constexpr,
):
    """Every program sums up all sequences and plans PROGRAMS spans; the first lists the items."""
    sequence = tl.arange(0, MAX_SEQUENCES)
    exists = sequence < num_sequences
    row = tl.load(query_starts + sequence, mask=exists, other=0)
    num_queries = tl.load(query_starts + sequence + 1, mask=exists, other=0) - row
    context_len = tl.load(context_lens + sequence, mask=exists, other=0)
    is_item = exists & (num_queries == 1) & (context_len > 0)
    first_token = tl.maximum(context_len - window, 0)  # visible
    num_tiles = tl.cdiv(context_len, TILE) - first_token // TILE
    piece_tiles = tl.where(is_item, num_tiles, 0)
    num_tiles = piece_tiles * NUM_KV_HEADS
    ends = tl.cumsum(num_tiles, 0)
    starts = ends - num_tiles
    item = tl.cumsum(is_item.to(tl.int32), 0) - 1
    if tl.program_id(0) == 0:
        fields = items + item * ITEM_FIELDS
        tl.store(fields, sequence, mask=is_item)
        tl.store(fields + 1, row, mask=is_item)
        tl.store(fields + 2, context_len, mask=is_item)
        tl.store(fields + 3, starts, mask=is_item)

    total = tl.sum(num_tiles, 0)
    short_span = tl.maximum(tl.cdiv(tl.max(piece_tiles, 0), short_parts), 1)
    span = tl.maximum(tl.cdiv(total, num_programs), tl.minimum(min_span_tiles, short_span))
    program = tl.program_id(0) * PROGRAMS + tl.arange(0, PROGRAMS)
    begin = tl.minimum(program * span, total)
    is_inside = (starts[None, :] <= begin[:, None]) & (begin[:, None] < ends[None, :])
    fields = spans + program * SPAN_FIELDS
    mask = program < num_programs
    tl.store(fields, begin, mask=mask)
    tl.store(fields + 1, tl.minimum(begin + span, total), mask=mask)
    tl.store(fields + 2, span + tl.zeros_like(program), mask=mask)
    tl.store(fields + 3, _chosen(is_inside, item), mask=mask)
    tl.store(fields + 4, _chosen(is_inside, sequence), mask=mask)
    tl.store(fields + 5, _chosen(is_inside, row), mask=mask)
    tl.store(fields + 6, _chosen(is_inside, context_len), mask=mask)
    tl.store(fields + 7, _chosen(is_inside, starts), mask=mask)


@triton.jit
def _chosen(is_chosen, values):
    """The one value that each row of a matrix of choices has chosen; 0 where it has none."""
    return tl.sum(tl.where(is_chosen, values[None, :], 0), 1)
