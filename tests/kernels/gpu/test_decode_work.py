import pytest
import torch

from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.decode_work import (
    DecodeConfig,
    DecodeShape,
    DecodeWork,
    candidates,
    default_config,
    plan_decode,
)
from legato.tests.kernels.gpu.device import DEVICE

TILE, NUM_KV_HEADS = 16, 2


def plan(
    lens: list[tuple[int, int]],
    window: int | None = None,
    min_span: int = 16,
    short_parts: int = 1,
) -> DecodeWork:
    """The plan of a batch of (query_len, context_len)."""
    starts = torch.tensor([0, *(queries for queries, _ in lens)]).cumsum(0)
    batch = AttentionBatch(
        starts.int().to(DEVICE),
        torch.tensor([context for _, context in lens], dtype=torch.int32, device=DEVICE),
        torch.zeros((len(lens), 1), dtype=torch.int32, device=DEVICE),
    )
    shape = DecodeShape(9, 4, NUM_KV_HEADS, 8, torch.float32, DEVICE, window)
    config = DecodeConfig(TILE, 4, 2, 2, min_span_tokens=min_span, short_parts=short_parts)
    work = DecodeWork.allocate(shape, config)
    plan_decode(batch, work)
    return work


def spans_of(work: DecodeWork) -> list[tuple[int, int, int, int]]:
    """(item, first tile, end, tiles of a full span) of the programs that have tiles."""
    rows = [(row[3], *row[:3]) for row in work.spans.tolist()]
    return [row for row in rows if row[1] < row[2]]


def test_items_are_the_sequences_with_one_query() -> None:
    work = plan([(3, 9), (1, 17), (0, 0), (1, 40), (1, 0), (2, 5)])
    # 17 tokens are two tiles for each of two heads.
    assert work.items[:2].tolist() == [[1, 3, 17, 0], [3, 4, 40, 4]]


@pytest.mark.parametrize("context_lens", [[1], [16, 17], [5000, 1, 1, 1], [100] * 9])
def test_spans_cover_all_tiles_without_gap_and_evenly(context_lens: list[int]) -> None:
    work = plan([(1, context_len) for context_len in context_lens])
    num_tiles = sum(-(-context_len // TILE) for context_len in context_lens) * NUM_KV_HEADS
    spans = spans_of(work)
    ends = [end for _, _, end, _ in spans]
    assert [begin for _, begin, _, _ in spans] == [0, *ends[:-1]]
    assert ends[-1] == num_tiles
    full = -(-num_tiles // work.num_programs)
    assert all(end - begin == full for _, begin, end, _ in spans[:-1])
    assert all(span[3] == full for span in spans)


def test_a_span_knows_the_item_that_it_begins_in() -> None:
    work = plan([(1, 1), (1, 500), (1, 30), (1, 16)])
    firsts = work.items[:4, 3].tolist()
    for item, begin, _, _ in spans_of(work):
        assert item == max(index for index, first in enumerate(firsts) if first <= begin)
    for *_, item, sequence, row, context_len, first in work.spans[: len(spans_of(work))].tolist():
        assert [sequence, row, context_len, first] == work.items[item].tolist()


def test_short_spans_are_avoided() -> None:
    work = plan([(1, 100)], min_span=64)
    assert [(begin, end) for _, begin, end, _ in spans_of(work)] == [
        (0, 4),
        (4, 8),
        (8, 12),
        (12, 14),
    ]


@pytest.mark.parametrize(("short_parts", "span"), [(1, 4), (2, 4), (3, 3), (4, 2), (8, 1)])
def test_spans_may_be_shorter_where_pieces_keep_few_parts(short_parts: int, span: int) -> None:
    # 7 and 2 tiles for each of two heads, which few programs cannot share out that finely.
    work = plan([(1, 100), (1, 20)], min_span=64, short_parts=short_parts)
    expected = max(span, -(-18 // work.num_programs))
    assert [row[3] for row in spans_of(work)] == [expected] * -(-18 // expected)


@pytest.mark.parametrize(("window", "num_tiles"), [(1, 1), (5, 2), (36, 3), (37, 4), (1000, 7)])
def test_tiles_outside_the_window_are_not_shared_out(window: int, num_tiles: int) -> None:
    work = plan([(1, 100)], window)  # the last tile has 4 tokens
    assert spans_of(work)[-1][2] == num_tiles * NUM_KV_HEADS


def test_a_step_without_decode_work_has_no_spans() -> None:
    assert spans_of(plan([(5, 5), (0, 0)])) == []


@pytest.mark.parametrize("head_dim", [64, 96, 128, 256])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float32])
def test_configurations_leave_room_for_all_programs(head_dim: int, dtype: torch.dtype) -> None:
    shape = DecodeShape(1, 8, 8, head_dim, dtype, DEVICE)
    for config in [default_config(shape), *candidates(dtype)]:
        threads = 32 * config.num_warps * config.programs_per_multiprocessor
        assert config.max_registers * threads <= 65536
