import torch

from legato.kernels.attention_plan import build_attention_plan, group_key
from legato.tests.kernels.pools import make_layout, make_pool


def test_positions_go_on_behind_the_cached_tokens() -> None:
    layout = make_layout([(3, 9), (1, 1), (2, 4)], 4, 16)
    plan = build_attention_plan(layout, make_pool(16, 4, torch.float32))
    assert plan.positions.tolist() == [6, 7, 8, 0, 2, 3]


def test_decoding_sequences_form_one_group_without_padding() -> None:
    layout = make_layout([(1, 9), (1, 200), (1, 30)], 4, 200)
    plan = build_attention_plan(layout, make_pool(200, 4, torch.float32))
    assert len(plan.groups) == 1
    assert plan.groups[0].padded_rows is None


def test_padding_stays_within_twice_the_queries() -> None:
    lens = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (8, 8), (9, 9), (100, 100)]
    layout = make_layout(lens, 16, 60)
    plan = build_attention_plan(layout, make_pool(60, 16, torch.float32))
    assert sum(group.num_tokens for group in plan.groups) == 132
    for group in plan.groups:
        assert group.num_sequences * group.max_query_len < 2 * group.num_tokens


def test_a_long_context_does_not_share_a_group_with_short_ones() -> None:
    short, long = group_key(1, 100, 16), group_key(1, 30_000, 16)
    assert short == group_key(1, 1000, 16)
    assert short != long
    assert long == group_key(1, 20_000, 16)
