import torch

from legato.kernels.attention_plan import BatchLayout, build_attention_plan, group_key
from legato.tests.kernels.pools import make_layout, make_pool


def test_positions_go_on_behind_the_cached_tokens() -> None:
    layout = make_layout([(3, 9), (1, 1), (2, 4)], 4, 16)
    plan = build_attention_plan(layout, make_pool(16, 4, torch.float32))
    assert plan.positions.tolist() == [6, 7, 8, 0, 2, 3]


def test_decoding_sequences_form_one_group_without_padding() -> None:
    layout = make_layout([(1, 9), (1, 200), (1, 30)], 4, 200)
    plan = build_attention_plan(layout, make_pool(200, 4, torch.float32))
    assert len(plan.groups) == 1
    assert plan.groups[0].rows is None


def test_groups_take_their_sequences_from_anywhere_in_the_step() -> None:
    layout = make_layout([(1, 9), (3, 3), (1, 30), (3, 8)], 4, 40)
    plan = build_attention_plan(layout, make_pool(40, 4, torch.float32))
    rows = [group.rows.tolist() for group in plan.groups if group.rows is not None]
    assert rows == [[0, 4], [1, 2, 3, 5, 6, 7]]


def test_a_tokens_slot_is_its_place_in_its_block() -> None:
    layout = BatchLayout(torch.tensor([2, 1]), torch.tensor([5, 1]), torch.tensor([[7, 3], [6, 0]]))
    plan = build_attention_plan(layout, make_pool(8, 4, torch.float32))
    assert plan.slots.tolist() == [7 * 4 + 3, 3 * 4, 6 * 4]


def test_padding_stays_within_twice_the_queries() -> None:
    lens = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (8, 8), (9, 9), (100, 100)]
    layout = make_layout(lens, 16, 60)
    plan = build_attention_plan(layout, make_pool(60, 16, torch.float32))
    nums = [0 if group.rows is None else len(group.rows) for group in plan.groups]
    assert sum(nums) == 132
    for group, num_tokens in zip(plan.groups, nums, strict=True):
        assert group.num_sequences * group.max_query_len < 2 * num_tokens


def test_a_long_context_does_not_share_a_group_with_short_ones() -> None:
    short, long = group_key(1, 100, 16), group_key(1, 30_000, 16)
    assert short == group_key(1, 1000, 16)
    assert short != long
    assert long == group_key(1, 20_000, 16)
