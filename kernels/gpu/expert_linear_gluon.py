"""expert_linear.py's products of many tokens on Hopper GPUs, by warps with different tasks.

    loader (4 warps)             copies pieces of weights and tokens into slots in shared memory
    two consumers (4 warps each) multiply 128 rows of the weight each with the same tokens

Programs stay for as long as there is work (expert_gluon_items.py): the loader is ahead while
consumers store a tile.

The first product gathers tokens, and leaves its gated results in the order of the list of pairs;
so the second one can have whole tiles of them copied, and puts its results where pairs belong.

    part of a slot's weights   first product         second product        consumer
    0                          gates  0..63          rows   0..63          0
    1                          ups    0..63          rows  64..127         0
    2                          gates 64..127         rows 128..191         1
    3                          ups   64..127         rows 192..255         1
"""

from functools import cache

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from legato.kernels.activation_kind import ClampedGate
from legato.kernels.gpu.device import has_warpgroups, num_multiprocessors
from legato.kernels.gpu.expert_gluon_items import (
    NUM_PARTS,
    PART,
    GluonProduct,
    locate,
    make_board,
    post,
    read,
    take,
)
from legato.kernels.gpu.expert_routing import GpuExpertRoutes
from legato.kernels.gpu.experts_config import MAX_BLOCK_PAIRS
from legato.kernels.gpu.prefill_gluon_loader import arrive, make_barriers, wait_for

_NUM_SLOTS = gl.constexpr(4)
_PAIRS, _FEW_PAIRS = gl.constexpr(MAX_BLOCK_PAIRS), gl.constexpr(64)
_LOADER_THREADS = gl.constexpr(128)
# Of 65,536 registers, at the start; the loader leaves some of its own to the others.
MAX_REGISTERS = 168
_CONSUMER_REGISTERS, _LOADER_REGISTERS = gl.constexpr(216), gl.constexpr(72)
_LOG2_E = gl.constexpr(1.4426950408889634)


def supports_specialized(
    x: torch.Tensor, weights: tuple[torch.Tensor, torch.Tensor], routes: GpuExpertRoutes
) -> bool:
    """Whether `specialized_expert_linear` computes both of a layer's products."""
    return (
        has_warpgroups(x.device)
        and routes.block_pairs == MAX_BLOCK_PAIRS
        and x.stride(0) % 8 == 0
        and x.data_ptr() % 16 == 0
        and all(w.dtype == x.dtype and w.element_size() == 2 for w in weights)
        and all(w.data_ptr() % 16 == 0 for w in weights)
        and all(w.shape[1] % 16 == 0 and w.shape[2] % PART.value == 0 for w in weights)
    )


def specialized_expert_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    routes: GpuExpertRoutes,
    is_gated: bool,
    *,
    bias: torch.Tensor | None = None,
    clamped: ClampedGate | None = None,
) -> torch.Tensor:
    """As `expert_linear`, where `supports_specialized`.

    Calls must run one after the other on a device: they share a counter.

    Args:
        x: [tokens, inputs] if gated, whose rows may have a stride; else [pairs, inputs] in the
            order of `routes.pairs`
        is_gated: this is a layer's first product

    Returns:
        [pairs, outputs], in the order of `routes.pairs` if gated
    """
    assert weight.is_contiguous() and x.stride(1) == 1
    assert bias is None or bias.is_contiguous()
    num_rows, num_inputs = weight.shape[1:]
    product = GluonProduct(num_rows, num_inputs, is_gated, routes.expert_ids.shape[1], clamped)
    out = x.new_empty(len(routes.pairs), product.num_outputs)
    most_items = len(routes.tiles) * product.num_row_tiles
    expert_product_kernel[(min(most_items, num_multiprocessors(x.device)),)](
        x if is_gated else _describe(x),
        _describe(weight.flatten(0, 1)),
        bias,
        out,
        routes.pairs,
        routes.tiles,
        routes.num_tiles,
        _counter(x.device),
        x.stride(0),
        PRODUCT=product,
        num_warps=4,
        maxnreg=MAX_REGISTERS,
    )
    return out


@cache
def _counter(device: torch.device) -> torch.Tensor:
    """How many items programs have taken after their first; zero between two kernels."""
    return torch.zeros(1, dtype=torch.int32, device=device)


def _describe(matrix: torch.Tensor) -> TensorDescriptor:
    """A matrix in parts."""
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    return TensorDescriptor.from_tensor(matrix, [PART.value, PART.value], layout)


@gluon.jit
def expert_product_kernel(
    x,  # [tokens, inputs], or described [pairs, inputs]
    weight_desc,  # [experts * rows, inputs]
    bias,  # [experts, rows] or None
    out,  # [pairs, outputs]
    pairs,  # [pairs]
    tiles,  # [most tiles, 4]
    num_tiles,  # [1]
    counter,  # [1]
    x_stride,
    PRODUCT: gl.constexpr,
):
    dtype: gl.constexpr = weight_desc.dtype
    matrix: gl.constexpr = gl.NVMMASharedLayout(128, 16, 2)
    weights = gl.allocate_shared_memory(dtype, [_NUM_SLOTS, NUM_PARTS * PART, PART], matrix)
    tokens = gl.allocate_shared_memory(dtype, [_NUM_SLOTS, _PAIRS, PART], matrix)
    # Filled by the copy engine, and where tokens are gathered by each thread of the loader.
    filled = make_barriers(_NUM_SLOTS, 1 + _LOADER_THREADS if PRODUCT.is_gated else 1)
    free = make_barriers(_NUM_SLOTS, 2)
    results = gl.allocate_shared_memory(dtype, [2, _PAIRS, PART], matrix)
    board = make_board()
    fence_async_shared()
    slots = (weights, tokens, filled, free)
    all_tiles = (tiles, gl.load(num_tiles))
    work = (all_tiles, pairs)
    gl.warp_specialize(
        [
            (_consume, (work, board, out, bias, results, slots, 0, PRODUCT)),
            (_consume, (work, board, out, bias, results, slots, 1, PRODUCT)),
            (_load, (work, board, counter, (x, x_stride), weight_desc, slots, PRODUCT)),
        ],
        [4, 4],
        [_CONSUMER_REGISTERS, _LOADER_REGISTERS],
    )


@gluon.jit
def _load(work, board, counter, source, weight_desc, slots, PRODUCT: gl.constexpr):
    """Copies what the program's items need, as soon as there is room."""
    num_items = work[0][1] * PRODUCT.num_row_tiles
    item = gl.program_id(0)
    index = 0
    step = 0
    while item < num_items:
        post(board, index, item)
        next_item = take(counter, num_items)
        _expert, _row_tile, _start, count = locate(work[0], item, PRODUCT)
        if count > _FEW_PAIRS:
            step = _load_item(work, item, source, weight_desc, slots, step, _PAIRS, PRODUCT)
        else:
            step = _load_item(work, item, source, weight_desc, slots, step, _FEW_PAIRS, PRODUCT)
        item = next_item
        index += 1
    post(board, index, item)


@gluon.jit
def _load_item(
    work,
    item,
    source,
    weight_desc,
    slots,
    step,
    NUM_PAIRS: gl.constexpr,
    PRODUCT: gl.constexpr,
):
    weights, tokens, filled, free = slots
    x, x_stride = source
    all_tiles, pairs = work
    expert, row_tile, start, count = locate(all_tiles, item, PRODUCT)
    first_row = expert * PRODUCT.num_rows + row_tile * PRODUCT.outputs_of_tile
    token_bytes: gl.constexpr = 0 if PRODUCT.is_gated else NUM_PAIRS * PART * 2
    if PRODUCT.is_gated:
        # Threads have 16 adjacent bytes. Pairs behind the last are the last again.
        layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
        index = gl.minimum(gl.arange(0, NUM_PAIRS, gl.SliceLayout(1, layout)), count - 1)
        token = gl.load(pairs + start + index) // PRODUCT.top_k
        inputs = gl.arange(0, PART, gl.SliceLayout(0, layout))
        pointers = (x + token.to(gl.int64) * x_stride)[:, None] + inputs[None, :]
    for first_input in range(0, PRODUCT.num_inputs, PART):
        wait_for(free, step, 1)
        slot = step % _NUM_SLOTS
        is_filled = filled.index(slot)
        mbarrier.expect(is_filled, NUM_PARTS * PART * PART * 2 + token_bytes)
        for part in gl.static_range(NUM_PARTS):
            row = first_row + PRODUCT.first_row(part)
            place = weights.index(slot).slice(part * PART, PART, dim=0)
            tma.async_copy_global_to_shared(weight_desc, [row, first_input], is_filled, place)
        if PRODUCT.is_gated:
            place = tokens.index(slot).slice(0, NUM_PAIRS, dim=0)
            async_copy.async_copy_global_to_shared(place, pointers + first_input)
            async_copy.mbarrier_arrive(is_filled, increment_count=False)
        else:
            for pair in gl.static_range(0, NUM_PAIRS, PART):
                place = tokens.index(slot).slice(pair, PART, dim=0)
                tma.async_copy_global_to_shared(x, [start + pair, first_input], is_filled, place)
        step += 1
    return step


@gluon.jit
def _consume(work, board, out, bias, results, slots, CONSUMER: gl.constexpr, PRODUCT: gl.constexpr):
    """Stores what the consumer's two parts of the weight make of the program's items."""
    num_items = work[0][1] * PRODUCT.num_row_tiles
    to = (out, bias, results.index(CONSUMER))
    index = 0
    step = 0
    item = read(board, index)
    while item < num_items:
        _expert, _row_tile, _start, count = locate(work[0], item, PRODUCT)
        if count > _FEW_PAIRS:
            step = _compute_item(work, item, to, slots, step, _PAIRS, CONSUMER, PRODUCT)
        else:
            step = _compute_item(work, item, to, slots, step, _FEW_PAIRS, CONSUMER, PRODUCT)
        index += 1
        item = read(board, index)


@gluon.jit
def _compute_item(
    work,
    item,
    to,
    slots,
    step,
    NUM_PAIRS: gl.constexpr,
    CONSUMER: gl.constexpr,
    PRODUCT: gl.constexpr,
):
    out, bias, results = to
    low, high, step = _multiply(slots, step, NUM_PAIRS, CONSUMER, PRODUCT)
    expert, row_tile, start, count = locate(work[0], item, PRODUCT)
    first_row = row_tile * PRODUCT.outputs_of_tile
    low_row = first_row + PRODUCT.first_row(2 * CONSUMER)
    high_row = first_row + PRODUCT.first_row(2 * CONSUMER + 1)
    if bias is not None:
        low = _add_bias(low, bias + expert * PRODUCT.num_rows, low_row, PRODUCT)
        high = _add_bias(high, bias + expert * PRODUCT.num_rows, high_row, PRODUCT)
    place = (work[1], start, count)
    if PRODUCT.is_gated:
        _store(_gate(low, high, PRODUCT), results, out, place, low_row, PRODUCT)
    else:
        _store(low, results, out, place, low_row, PRODUCT)
        _store(high, results, out, place, high_row, PRODUCT)
    return step


@gluon.jit
def _multiply(
    slots,
    step,
    NUM_PAIRS: gl.constexpr,
    CONSUMER: gl.constexpr,
    PRODUCT: gl.constexpr,
):
    """Sums over all inputs, [rows, pairs] of both parts, and the next step."""
    weights, tokens, filled, free = slots
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, NUM_PAIRS, 16])
    low = gl.zeros([PART, NUM_PAIRS], gl.float32, layout)
    high = gl.zeros([PART, NUM_PAIRS], gl.float32, layout)
    for first_input in range(0, PRODUCT.num_inputs, PART):
        wait_for(filled, step, 0)
        if PRODUCT.is_gated:
            fence_async_shared()  # tokens are not written by the copy engine
        weight = weights.index(step % _NUM_SLOTS)
        x = tokens.index(step % _NUM_SLOTS).slice(0, NUM_PAIRS, dim=0).permute((1, 0))
        low_weight = weight.slice(2 * CONSUMER * PART, PART, dim=0)
        high_weight = weight.slice((2 * CONSUMER + 1) * PART, PART, dim=0)
        low = warpgroup_mma(low_weight, x, low, is_async=True)
        high = warpgroup_mma(high_weight, x, high, is_async=True)
        # The step before is done: these two are not.
        low, high = warpgroup_mma_wait(2, deps=[low, high])
        if first_input > 0:
            arrive(free, step - 1)
        step += 1
    low, high = warpgroup_mma_wait(0, deps=[low, high])
    arrive(free, step - 1)
    return low, high, step


@gluon.jit
def _add_bias(sums, bias, row, PRODUCT: gl.constexpr):
    rows = row + gl.arange(0, PART, gl.SliceLayout(1, sums.type.layout))
    biases = gl.load(bias + rows, rows < PRODUCT.num_rows, other=0.0)
    return sums + biases.to(gl.float32)[:, None]


@gluon.jit
def _gate(gates, ups, PRODUCT: gl.constexpr):
    """As weight_tile.py's gates, of which this language cannot use the functions."""
    if PRODUCT.clamped is None:
        exponents = gates * -_LOG2_E
    else:
        gates = gl.minimum(gates, PRODUCT.clamped.limit)
        ups = gl.minimum(gl.maximum(ups, -PRODUCT.clamped.limit), PRODUCT.clamped.limit) + 1
        exponents = gates * (-_LOG2_E * PRODUCT.clamped.slope)
    return ups * gates / (1 + gl.exp2(exponents))


@gluon.jit
def _store(values, results, out, place, row, PRODUCT: gl.constexpr):
    """Stores [rows, pairs]: gated in the order of pairs, others where their pairs belong."""
    pairs, start, count = place
    NUM_PAIRS: gl.constexpr = values.shape[1]
    # Through shared memory: threads have 16 adjacent bytes of a pair.
    turned = results.slice(0, NUM_PAIRS, dim=0)
    turned.permute((1, 0)).store(values.to(out.dtype.element_ty))
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
    values = turned.load(layout)
    index = gl.arange(0, NUM_PAIRS, gl.SliceLayout(1, layout))
    rows = row + gl.arange(0, PART, gl.SliceLayout(0, layout))
    pair = start + index
    if not PRODUCT.is_gated:
        pair = gl.load(pairs + pair, index < count, other=0)
    pointers = out + pair.to(gl.int64)[:, None] * PRODUCT.num_outputs + rows[None, :]
    gl.store(pointers, values, (index < count)[:, None] & (rows < PRODUCT.num_outputs)[None, :])
