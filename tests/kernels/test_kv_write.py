import torch

from legato.kernels.attention_plan import build_attention_plan
from legato.kernels.kv_write import write_kv
from legato.tests.kernels.pools import (
    HEAD_DIM,
    NUM_KV_HEADS,
    context_of,
    make_layout,
    make_pool,
)


def test_a_token_lands_in_its_slot_and_nowhere_else() -> None:
    pool = make_pool(12, 4, torch.float32)
    before = pool.clone()
    layout = make_layout([(3, 9), (1, 4), (5, 5)], 4, 12)
    keys_values = torch.randn(9, 2 * NUM_KV_HEADS, HEAD_DIM)
    write_kv(keys_values, pool, 1, build_attention_plan(layout, pool))

    first = 0
    for sequence, query_len in enumerate(layout.query_lens.tolist()):
        written = context_of(pool, layout, sequence, 1)[:, :, -query_len:]
        wanted = keys_values[first : first + query_len].transpose(0, 1)
        assert torch.equal(written, wanted.reshape(written.shape))
        first += query_len
    assert int((pool != before).sum()) == keys_values.numel()
