"""Tokens to experts on the device: who goes where, and the order in which it is computed.

Few tokens, one program:      logits -> route_kernel -> routes, pairs, tiles
More, in chunks of tokens:    logits -> route_kernel -> routes, counts [chunks, experts]
                              counts -> scan_kernel -> pairs of an expert before a chunk; tiles
                              routes -> place_kernel -> pairs

    pairs    | expert 0: 3 7 8 | expert 2: 0 4 | expert 5: 1 2 5 6 9 |      n: pair, see the twin
    tiles      (0, 0, 3)         (2, 3, 5)       (5, 5, 9) (5, 9, 10)

Nothing is counted with atomics and nothing is read by the host: the lists are the same each time,
and tensors are as long as the worst case needs. What the kernel of the products wants is a tile's
size; the rest of it is none of this module's business.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from legato.kernels.gpu.device import can_launch_early
from legato.kernels.gpu.expert_choice import (
    choose,
    limit_to_groups,
    list_tiles,
    place_pairs,
    score_experts,
    weigh,
)
from legato.kernels.gpu.experts_config import block_pairs_of
from legato.kernels.routing_params import RoutingParams, Scoring

# Of a program's [tokens, experts]: as many as its registers hold; one that does all may be slower.
_CHUNK_VALUES = 4096
_WHOLE_VALUES = 8192
_MAX_PROGRAM_TOKENS = 256
_VALUES_PER_WARP = 512
_SCANNED_VALUES = 4096  # at a time
_SCAN_WARPS = 4


@dataclass(frozen=True, slots=True, eq=False)
class GpuExpertRoutes:
    """Where tokens go, and the work that this makes.

    Attributes:
        expert_ids, weights: as in the twin's
        pairs: [tokens * top_k] int32, expert by expert; those of padding are missing at the end
        tiles: [most tiles, 4] int32: expert, first and last position in `pairs`, unused
        num_tiles: [1] int32
        block_pairs: of a tile at most
    """

    expert_ids: torch.Tensor
    weights: torch.Tensor
    pairs: torch.Tensor
    tiles: torch.Tensor
    num_tiles: torch.Tensor
    block_pairs: int


def route_tokens(
    logits: torch.Tensor,
    correction: torch.Tensor | None,
    slots: torch.Tensor | None,
    params: RoutingParams,
    *,
    block_pairs: int | None = None,
) -> GpuExpertRoutes:
    """Chooses the experts of each token, see the twin."""
    num_tokens, num_experts = logits.shape
    assert logits.is_contiguous() and params.top_k <= num_experts
    num_pairs = num_tokens * params.top_k
    block_pairs = block_pairs or block_pairs_of(num_pairs, num_experts)
    num_tiles = num_pairs // block_pairs + min(num_pairs, num_experts)

    def empty(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=logits.device)

    routes = GpuExpertRoutes(
        expert_ids=empty(num_tokens, params.top_k),
        weights=empty(num_tokens, params.top_k, dtype=torch.float32),
        pairs=empty(num_pairs),
        tiles=empty(num_tiles, 4),
        num_tiles=empty(1),
        block_pairs=block_pairs,
    )
    if num_tokens:
        _launch(logits, correction, slots, params, routes)
    return routes


def _launch(
    logits: torch.Tensor,
    correction: torch.Tensor | None,
    slots: torch.Tensor | None,
    params: RoutingParams,
    routes: GpuExpertRoutes,
) -> None:
    num_tokens, num_experts = logits.shape
    block_experts = triton.next_power_of_2(num_experts)
    whole_values = _WHOLE_VALUES if params.groups is None else _CHUNK_VALUES
    is_whole = num_tokens <= _tokens_of(whole_values, block_experts)
    chunk_tokens = _tokens_of(_CHUNK_VALUES, block_experts)
    block_tokens = triton.next_power_of_2(num_tokens) if is_whole else chunk_tokens
    num_chunks = triton.cdiv(num_tokens, block_tokens)
    num_warps = min(max(block_tokens * block_experts // _VALUES_PER_WARP, 1), 16)
    is_early = can_launch_early(logits.device)
    counts = None
    if not is_whole:
        counts = logits.new_empty(num_chunks + 1, num_experts, dtype=torch.int32)
    groups = params.groups
    route_kernel[(num_chunks,)](
        logits,
        correction,
        slots,
        routes.expert_ids,
        routes.weights,
        routes.pairs,
        routes.tiles,
        routes.num_tiles,
        counts,
        num_tokens,
        params.weight_scale,
        NUM_EXPERTS=num_experts,
        TOP_K=params.top_k,
        IS_SIGMOID=params.scoring is Scoring.SIGMOID,
        RENORMALIZES=params.renormalizes,
        NUM_GROUPS=groups.num_groups if groups else 1,
        NUM_CHOSEN_GROUPS=groups.num_chosen if groups else 1,
        NUM_COUNTED=groups.num_counted if groups else 1,
        BLOCK_GROUPS=triton.next_power_of_2(groups.num_groups) if groups else 1,
        BLOCK_TOKENS=block_tokens,
        BLOCK_EXPERTS=block_experts,
        BLOCK_PAIRS=routes.block_pairs,
        IS_EARLY=is_early,
        num_warps=num_warps,
        launch_pdl=is_early,
    )
    if counts is None:
        return
    scan_kernel[(1,)](
        counts,
        routes.tiles,
        routes.num_tiles,
        num_chunks,
        NUM_EXPERTS=num_experts,
        BLOCK_CHUNKS=max(_SCANNED_VALUES // block_experts, 1),
        BLOCK_EXPERTS=block_experts,
        BLOCK_PAIRS=routes.block_pairs,
        IS_EARLY=is_early,
        num_warps=_SCAN_WARPS,
        launch_pdl=is_early,
    )
    place_kernel[(num_chunks,)](
        routes.expert_ids,
        counts,
        routes.pairs,
        num_tokens,
        num_chunks,
        NUM_EXPERTS=num_experts,
        TOP_K=params.top_k,
        BLOCK_TOKENS=block_tokens,
        BLOCK_EXPERTS=block_experts,
        IS_EARLY=is_early,
        num_warps=num_warps,
        launch_pdl=is_early,
    )


def _tokens_of(num_values: int, block_experts: int) -> int:
    return min(max(num_values // block_experts, 1), _MAX_PROGRAM_TOKENS)


@triton.jit(do_not_specialize=["num_tokens", "weight_scale"])
def route_kernel(
    logits_ptr,
    correction_ptr,
    slots_ptr,
    expert_ids_ptr,
    weights_ptr,
    pairs_ptr,
    tiles_ptr,
    num_tiles_ptr,
    counts_ptr,
    num_tokens,
    weight_scale,
    NUM_EXPERTS: tl.constexpr,
    TOP_K: tl.constexpr,
    IS_SIGMOID: tl.constexpr,
    RENORMALIZES: tl.constexpr,
    NUM_GROUPS: tl.constexpr,
    NUM_CHOSEN_GROUPS: tl.constexpr,
    NUM_COUNTED: tl.constexpr,
    BLOCK_GROUPS: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_EXPERTS: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    """Without counts_ptr, the one program makes pairs and tiles as well."""
    tokens = tl.program_id(0) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    experts = tl.arange(0, BLOCK_EXPERTS)
    is_token, is_expert = tokens < num_tokens, (experts < NUM_EXPERTS)[None, :]
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    logit_ptrs = logits_ptr + tokens[:, None] * NUM_EXPERTS + experts[None, :]
    logits = tl.load(logit_ptrs, is_token[:, None] & is_expert, other=0.0).to(tl.float32)
    scores = score_experts(logits, is_expert, IS_SIGMOID)
    ranked = scores
    if correction_ptr is not None:
        ranked += tl.load(correction_ptr + experts, experts < NUM_EXPERTS, other=0.0)[None, :]
    ranked = tl.where(is_expert, ranked, float("-inf"))
    if NUM_GROUPS > 1:
        ranked = limit_to_groups(
            ranked, NUM_EXPERTS, NUM_GROUPS, NUM_CHOSEN_GROUPS, NUM_COUNTED, BLOCK_GROUPS
        )
    choices = choose(ranked, TOP_K)
    is_choice = (choices >= 0) & is_token[:, None]
    is_real = is_token
    if slots_ptr is not None:
        is_real = is_token & (tl.load(slots_ptr + tokens, is_token, other=-1) >= 0)
    expert_ids = tl.where(is_real[:, None], experts[None, :], NUM_EXPERTS)
    pairs = tokens[:, None] * TOP_K + choices
    tl.store(expert_ids_ptr + pairs, expert_ids, is_choice)
    tl.store(weights_ptr + pairs, weigh(scores, choices, RENORMALIZES, weight_scale), is_choice)

    is_chosen = is_choice & is_real[:, None]
    counts = tl.sum(is_chosen.to(tl.int32), axis=0)
    if counts_ptr is not None:
        count_ptrs = counts_ptr + tl.program_id(0) * NUM_EXPERTS + experts
        tl.store(count_ptrs, counts, experts < NUM_EXPERTS)
    else:
        starts = list_tiles(tiles_ptr, num_tiles_ptr, counts, BLOCK_PAIRS, BLOCK_TOKENS)
        place_pairs(pairs_ptr, choices, is_chosen, starts, tokens, TOP_K)


@triton.jit(do_not_specialize=["num_chunks"])
def scan_kernel(
    counts_ptr,
    tiles_ptr,
    num_tiles_ptr,
    num_chunks,
    NUM_EXPERTS: tl.constexpr,
    BLOCK_CHUNKS: tl.constexpr,
    BLOCK_EXPERTS: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    """Counts become sums over the chunks before; the row behind them, starts of the experts."""
    experts = tl.arange(0, BLOCK_EXPERTS)
    is_expert = experts < NUM_EXPERTS
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    totals = tl.zeros([BLOCK_EXPERTS], tl.int32)
    for first in range(0, num_chunks, BLOCK_CHUNKS):
        chunks = first + tl.arange(0, BLOCK_CHUNKS)
        count_ptrs = counts_ptr + chunks[:, None] * NUM_EXPERTS + experts[None, :]
        is_count = (chunks < num_chunks)[:, None] & is_expert[None, :]
        counts = tl.load(count_ptrs, is_count, other=0)
        before = tl.cumsum(counts, axis=0) - counts + totals[None, :]
        tl.store(count_ptrs, before, is_count)
        totals += tl.sum(counts, axis=0)
    starts = list_tiles(tiles_ptr, num_tiles_ptr, totals, BLOCK_PAIRS, None)
    tl.store(counts_ptr + num_chunks * NUM_EXPERTS + experts, starts, is_expert)


@triton.jit(do_not_specialize=["num_tokens", "num_chunks"])
def place_kernel(
    expert_ids_ptr,
    counts_ptr,
    pairs_ptr,
    num_tokens,
    num_chunks,
    NUM_EXPERTS: tl.constexpr,
    TOP_K: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_EXPERTS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    tokens = tl.program_id(0) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    experts = tl.arange(0, BLOCK_EXPERTS)
    is_token, is_expert = tokens < num_tokens, experts < NUM_EXPERTS
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    choices = tl.full([BLOCK_TOKENS, BLOCK_EXPERTS], -1, tl.int32)
    for choice in tl.static_range(TOP_K):
        chosen = tl.load(expert_ids_ptr + tokens * TOP_K + choice, is_token, other=NUM_EXPERTS)
        choices = tl.where(chosen[:, None] == experts[None, :], choice, choices)
    starts = tl.load(counts_ptr + num_chunks * NUM_EXPERTS + experts, is_expert, other=0)
    before = tl.load(counts_ptr + tl.program_id(0) * NUM_EXPERTS + experts, is_expert, other=0)
    is_chosen = (choices >= 0) & is_expert[None, :]
    place_pairs(pairs_ptr, choices, is_chosen, starts + before, tokens, TOP_K)
