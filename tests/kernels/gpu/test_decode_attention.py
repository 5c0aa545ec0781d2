from dataclasses import dataclass, replace

import pytest
import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.decode_attention import decode_attention
from legato.kernels.gpu.decode_work import (
    DecodeConfig,
    DecodeShape,
    DecodeWork,
    candidates,
    plan_decode,
)
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, TOLERANCES

NUM_LAYERS, LAYER = 2, 1
UNTOUCHED = 7.0
# Tiles and spans so short that small contexts have many of them.
SHORT_SPANS = DecodeConfig(
    tile=16, num_warps=4, num_stages=3, programs_per_multiprocessor=2, min_span_tokens=16
)
# At a tile's edge, at a block's edge, at both, and over several of both.
CONTEXT_LENS = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 70]


@dataclass(frozen=True, slots=True)
class Model:
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 16
    block_size: int = 8
    dtype: torch.dtype = torch.float32
    config: DecodeConfig = SHORT_SPANS


@dataclass(frozen=True, slots=True)
class Case:
    """A batch on the host: (query_len, context_len) of each sequence."""

    lens: list[tuple[int, int]]
    query: torch.Tensor  # [rows, heads, head_dim]
    pool: torch.Tensor
    query_starts: torch.Tensor
    block_tables: torch.Tensor

    def batch(self) -> AttentionBatch:
        context_lens = torch.tensor([context for _, context in self.lens], dtype=torch.int32)
        return AttentionBatch(
            self.query_starts.to(DEVICE), context_lens.to(DEVICE), self.block_tables.to(DEVICE)
        )

    def decode_sequences(self) -> list[int]:
        return [i for i, (queries, context) in enumerate(self.lens) if queries == 1 and context]


def make_case(lens: list[tuple[int, int]], model: Model, num_padding_rows: int = 0) -> Case:
    """Shuffled blocks; NaN in every slot without a token, and tables that end in nonsense."""
    generator = torch.Generator().manual_seed(len(lens))
    num_blocks = [-(-context // model.block_size) for _, context in lens]
    pool_shape = (NUM_LAYERS, 2, model.num_kv_heads, model.block_size, model.head_dim)
    pool = torch.full((sum(num_blocks) + 1, *pool_shape), float("nan"))
    block_tables = torch.full((len(lens), max(num_blocks) + 1), 2**31 - 1, dtype=torch.int32)
    free = torch.randperm(sum(num_blocks) + 1, generator=generator).tolist()
    for sequence, (_, context) in enumerate(lens):
        for index in range(num_blocks[sequence]):
            block_tables[sequence, index] = free.pop()
        for first in range(0, context, model.block_size):
            used = min(model.block_size, context - first)
            values = torch.randn((*pool_shape[:3], used, model.head_dim), generator=generator)
            pool[block_tables[sequence, first // model.block_size], :, :, :, :used] = values
    starts = torch.tensor([0, *(queries for queries, _ in lens)], dtype=torch.int32).cumsum(0)
    rows = int(starts[-1]) + num_padding_rows
    query = torch.randn((rows, model.num_heads, model.head_dim), generator=generator)
    return Case(lens, query.to(model.dtype), pool.to(model.dtype), starts.int(), block_tables)


def make_work(case: Case, model: Model, window: int | None = None) -> DecodeWork:
    shape = DecodeShape(
        max_sequences=len(case.lens) + 3,
        num_heads=model.num_heads,
        num_kv_heads=model.num_kv_heads,
        head_dim=model.head_dim,
        kv_dtype=case.pool.dtype,
        device=DEVICE,
        window=window,
    )
    return DecodeWork.allocate(shape, model.config)


def run(
    case: Case, work: DecodeWork, params: AttentionParams, sinks: torch.Tensor | None = None
) -> torch.Tensor:
    """[rows, heads * head_dim] on the host; rows that the kernel left alone hold UNTOUCHED."""
    batch, rows = case.batch(), case.query.shape[0]
    output = torch.full((rows, case.query[0].numel()), UNTOUCHED, dtype=case.query.dtype)
    output = output.to(DEVICE)
    plan_decode(batch, work)
    pool = case.pool.to(DEVICE)
    sinks = None if sinks is None else sinks.to(DEVICE)
    decode_attention(case.query.to(DEVICE), pool, LAYER, batch, work, params, output, sinks)
    return output.cpu()


def textbook(
    case: Case, sequence: int, params: AttentionParams, sinks: torch.Tensor | None = None
) -> torch.Tensor:
    """[heads * head_dim] float64 of a sequence's only query."""
    context_len, block_size = case.lens[sequence][1], case.pool.shape[4]
    first = max(0, context_len - (params.window or context_len))
    tokens = [
        case.pool[
            case.block_tables[sequence, token // block_size], LAYER, ..., token % block_size, :
        ]
        for token in range(first, context_len)
    ]
    keys, values = torch.stack(tokens, 2).double()  # [kv_heads, tokens, head_dim]
    query = case.query[int(case.query_starts[sequence])].double()
    group = query.shape[0] // keys.shape[0]
    keys, values = keys.repeat_interleave(group, 0), values.repeat_interleave(group, 0)
    scores = torch.einsum("hd,htd->ht", query, keys) * params.scale * params.key_scale
    if params.softcap is not None:
        scores = params.softcap * torch.tanh(scores / params.softcap)
    weights = scores.softmax(1)
    if sinks is not None:
        weights = torch.cat((scores, sinks.double()[:, None]), 1).softmax(1)[:, :-1]
    return torch.einsum("ht,htd->hd", weights, values).flatten() * params.value_scale


def check(
    case: Case,
    model: Model,
    params: AttentionParams,
    tolerance: float | None = None,
    sinks: torch.Tensor | None = None,
) -> None:
    output = run(case, make_work(case, model, params.window), params, sinks)
    tolerance = tolerance or TOLERANCES[model.dtype]
    left_alone = torch.full(output.shape[:1], True)
    for sequence in case.decode_sequences():
        row = int(case.query_starts[sequence])
        left_alone[row] = False
        expected = textbook(case, sequence, params, sinks)
        torch.testing.assert_close(output[row].double(), expected, rtol=tolerance, atol=tolerance)
    assert (output[left_alone] == UNTOUCHED).all()


def decodes(context_lens: list[int]) -> list[tuple[int, int]]:
    return [(1, context_len) for context_len in context_lens]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_size", [4, 16, 64])
def test_every_length_of_context_is_attended_to_its_end(
    dtype: torch.dtype, block_size: int
) -> None:
    model = Model(dtype=dtype, block_size=block_size)
    check(make_case(decodes(CONTEXT_LENS), model), model, AttentionParams(model.head_dim**-0.5))


@pytest.mark.parametrize("num_heads", [2, 8, 16])
def test_query_heads_share_the_heads_of_keys(num_heads: int) -> None:
    model = Model(num_heads=num_heads)
    check(make_case(decodes([5, 40]), model), model, AttentionParams(0.3))


@pytest.mark.parametrize("head_dim", [8, 64, 96, 128, 256])
def test_heads_of_all_sizes(head_dim: int) -> None:
    model = Model(head_dim=head_dim, dtype=torch.float16)
    check(make_case(decodes([40, 3]), model), model, AttentionParams(head_dim**-0.5))


def test_tokens_may_be_the_rows_of_the_products() -> None:
    model = Model(config=replace(SHORT_SPANS, swaps_operands=True), head_dim=24)
    check(make_case(decodes(CONTEXT_LENS), model), model, AttentionParams(0.3))


@pytest.mark.parametrize("window", [1, 5, 16, 20, 1000])
def test_a_window_hides_older_tokens_even_non_finite_ones(window: int) -> None:
    model = Model()
    case = make_case(decodes(CONTEXT_LENS), model)
    for sequence, (_, context_len) in enumerate(case.lens):
        num_hidden_blocks = max(0, context_len - window) // model.block_size
        case.pool[case.block_tables[sequence, :num_hidden_blocks]] = float("nan")
    check(case, model, AttentionParams(0.3, window=window))


def test_blocks_before_the_window_need_not_exist() -> None:
    model = Model(block_size=4)
    case = make_case(decodes([40]), model)
    case.block_tables[0, : (40 - 6) // 4] = 2**31 - 1
    check(case, model, AttentionParams(0.3, window=6))


@pytest.mark.parametrize("softcap", [0.5, 50.0])
def test_scores_are_softly_capped(softcap: float) -> None:
    model = Model()
    check(make_case(decodes([33, 8]), model), model, AttentionParams(1.0, softcap=softcap))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (20, None), (None, 2.0)])
@pytest.mark.parametrize("num_heads", [2, 6])
def test_sinks_take_their_share_of_whole_and_of_split_sequences(
    dtype: torch.dtype, window: int | None, softcap: float | None, num_heads: int
) -> None:
    model = Model(num_heads=num_heads, dtype=dtype)
    sinks = torch.linspace(-3, 4, num_heads).to(dtype)
    case = make_case([*decodes(CONTEXT_LENS), (3, 9), (1, 200)], model)
    check(case, model, AttentionParams(0.3, window, softcap), sinks=sinks)


@pytest.mark.parametrize(("sink", "share"), [(-80.0, 1.0), (80.0, 0.0)])
def test_sinks_may_weigh_nothing_or_everything(sink: float, share: float) -> None:
    model, params = Model(), AttentionParams(0.3)
    case = make_case(decodes([5, 300]), model)
    without = run(case, make_work(case, model), params)
    output = run(case, make_work(case, model), params, torch.full((model.num_heads,), sink))
    torch.testing.assert_close(output, without * share)


def test_one_long_context_among_short_ones_is_split_over_programs() -> None:
    model = Model()
    num_programs = make_work(make_case(decodes([1]), model), model).num_programs
    long = 2 * SHORT_SPANS.tile * num_programs  # several tiles for each program
    check(make_case(decodes([1, 1, long, 3]), model), model, AttentionParams(0.3))


def test_more_parts_than_are_merged_at_once() -> None:
    config = replace(SHORT_SPANS, programs_per_multiprocessor=20)
    model = Model(num_heads=16, num_kv_heads=1, head_dim=32, config=config)
    check(make_case(decodes([600]), model), model, AttentionParams(0.2))


def test_sequences_with_more_queries_and_padding_are_left_alone() -> None:
    model = Model()
    lens = [(3, 3), (1, 20), (2, 40), (1, 1), (1, 33), (5, 17), (0, 0), (0, 0)]
    check(make_case(lens, model, num_padding_rows=4), model, AttentionParams(0.3))


def test_a_batch_without_decode_work() -> None:
    model = Model()
    check(make_case([(2, 9), (0, 0)], model), model, AttentionParams(0.3))


def test_one_work_serves_one_batch_after_the_other() -> None:
    model = Model()
    params = AttentionParams(0.3)
    cases = [make_case(decodes(lens), model) for lens in ([70, 9, 200], [1], [17, 100])]
    work = make_work(cases[0], model)
    again = [run(case, work, params) for case in cases]
    assert all(
        torch.equal(output, run(case, make_work(case, model), params))
        for case, output in zip(cases, again, strict=True)
    )


def test_results_do_not_change_from_run_to_run() -> None:
    model = Model()
    case = make_case(decodes([200, 2, 70]), model)
    work = make_work(case, model)
    first = run(case, work, AttentionParams(0.3))
    assert all(torch.equal(first, run(case, work, AttentionParams(0.3))) for _ in range(2))
    assert not work.arrivals.any()


def test_queries_may_lie_among_keys_and_values() -> None:
    model = Model()
    case = make_case(decodes([9, 20]), model)
    wide = torch.full((2, model.num_heads + 2 * model.num_kv_heads, model.head_dim), float("nan"))
    wide[:, : model.num_heads] = case.query
    check(replace(case, query=wide[:, : model.num_heads]), model, AttentionParams(0.3))


@pytest.mark.parametrize("head_dim", [32, 24])
@pytest.mark.parametrize("swaps_operands", [False, True])
def test_pools_of_8_bits_are_scaled(head_dim: int, swaps_operands: bool) -> None:
    config = replace(SHORT_SPANS, swaps_operands=swaps_operands)
    model = Model(head_dim=head_dim, dtype=torch.float16, config=config)
    case = in_8_bits(make_case(decodes([9, 40, 1]), model))
    check(case, model, AttentionParams(0.3, key_scale=0.5, value_scale=2.0), 4e-3)


def in_8_bits(case: Case) -> Case:
    return replace(case, pool=case.pool.to(torch.float8_e4m3fn))


def check_real_shape(
    model: Model,
    config: DecodeConfig | None = None,
    kv_dtype: torch.dtype = torch.bfloat16,
    window: int | None = None,
) -> None:
    case = make_case(decodes([5000, 1, 64, 300]), model)
    case = replace(case, pool=case.pool.to(kv_dtype))
    shape = DecodeShape(
        8, model.num_heads, model.num_kv_heads, model.head_dim, kv_dtype, DEVICE, window
    )
    params = AttentionParams(model.head_dim**-0.5, window=window)
    output = run(case, DecodeWork.allocate(shape, config), params)
    expected = torch.stack([textbook(case, sequence, params) for sequence in range(4)])
    torch.testing.assert_close(output.double(), expected, rtol=1.6e-2, atol=1.6e-2)


KV_DTYPES = [torch.bfloat16, torch.float8_e4m3fn]


@pytest.mark.gpu
@pytest.mark.parametrize("head_dim", [64, 96, 128, 256])
@pytest.mark.parametrize("window", [None, 700])
@pytest.mark.parametrize("kv_dtype", KV_DTYPES)
def test_default_configurations_are_right(
    head_dim: int, window: int | None, kv_dtype: torch.dtype
) -> None:
    model = Model(32, 8, head_dim, 64, torch.bfloat16)
    check_real_shape(model, kv_dtype=kv_dtype, window=window)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("kv_dtype", "index"),
    [(dtype, index) for dtype in KV_DTYPES for index in range(len(candidates(dtype)))],
)
def test_all_candidates_are_right(kv_dtype: torch.dtype, index: int) -> None:
    model = Model(32, 8, 128, 64, torch.bfloat16)
    check_real_shape(model, candidates(kv_dtype)[index], kv_dtype)


@pytest.mark.gpu
def test_a_graph_is_replayed_with_other_batches() -> None:
    model = Model()
    params = AttentionParams(0.3)
    cases = [make_case(decodes(lens), model) for lens in ([70, 9, 300], [1, 400, 16])]
    work, batch = make_work(cases[0], model), cases[0].batch()
    width = max(case.block_tables.shape[1] for case in cases)
    batch = replace(batch, block_tables=torch.zeros((3, width), dtype=torch.int32, device=DEVICE))
    pool = torch.zeros((200, *cases[0].pool.shape[1:]), device=DEVICE)
    query = cases[0].query.to(DEVICE)
    output = torch.empty((3, query[0].numel()), device=DEVICE)
    plan_decode(batch, work)
    decode_attention(query, pool, LAYER, batch, work, params, output)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        plan_decode(batch, work)
        decode_attention(query, pool, LAYER, batch, work, params, output)
    for case in cases:
        query.copy_(case.query)
        pool[: case.pool.shape[0]] = case.pool.to(DEVICE)
        batch.context_lens.copy_(case.batch().context_lens)
        batch.block_tables[:, : case.block_tables.shape[1]] = case.block_tables.to(DEVICE)
        graph.replay()
        assert torch.equal(output.cpu(), run(case, make_work(case, model), params))
