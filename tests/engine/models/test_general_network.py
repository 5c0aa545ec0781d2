from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from legato.engine.models.forward_context import ForwardContext
from legato.engine.models.general_attention import LayerCall
from legato.engine.models.general_network import StepAttention
from legato.engine.models.general_probe import probe_model
from legato.kernels import torch_kernels
from legato.kernels.attention_plan import BatchLayout, build_attention_plan
from legato.kernels.backend import Kernels
from legato.tests.general_traps import GENERAL_TRAPS

KERNELS: Kernels = torch_kernels
LAYER, LENGTH, BLOCK_TABLE = 1, 5, [2, 0]


class Layer(nn.Module):
    layer_idx = LAYER


def test_keys_wider_than_values_go_through_blocks_and_come_back(tmp_path: Path) -> None:
    config = probe_model(GENERAL_TRAPS["minicpm3"].make(tmp_path), trusts_code=False)
    heads, dim = config.num_kv_heads, config.head_dim
    pool = torch.full((3, config.num_layers, 2, heads, 4, dim), torch.nan)
    lens = torch.tensor([LENGTH])
    plan = build_attention_plan(BatchLayout(lens, lens, torch.tensor([BLOCK_TABLE])), pool)
    still = torch.zeros(dim // 2)
    rotary = KERNELS.rotary_tables(plan.positions, still, 1.0, torch.float32)
    attention = StepAttention(config, ForwardContext(KERNELS, plan, pool), rotary)

    query, key, value = (torch.randn(1, heads, LENGTH, width) for width in (dim, dim, 18))
    output = attention.attend(LayerCall(Layer(), query, key, value, None, {}))

    scale = config.layers[LAYER].scale
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    torch.testing.assert_close(output, expected.transpose(1, 2))
    keys, values = (
        pool[BLOCK_TABLE, LAYER, part].transpose(1, 2).flatten(0, 1)[:LENGTH] for part in (0, 1)
    )
    assert torch.equal(keys, key[0].transpose(0, 1))
    assert torch.equal(values, F.pad(value[0].transpose(0, 1), (0, dim - 18)))
    assert pool[:, 0].isnan().all()
