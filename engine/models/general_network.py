"""A model that transformers' own code computes, with attention over our block pool.

    tokens of a step, one behind the other        [1, tokens]
      |- transformers: embedding, norms, projections, ropes, MLPs or experts
      |- ours, at each layer: keys and values into the pool, paged attention   (StepAttention)
      `- transformers: head, for the rows that are sampled from

No cache and no mask of transformers is made: where sequences begin and what they may see is the
plan's to know.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from legato.engine.models.forward_context import ForwardContext
from legato.engine.models.general_attention import LayerCall
from legato.engine.models.general_config import GeneralConfig
from legato.engine.models.general_parts import ModelParts
from legato.kernels.backend import Kernels


@dataclass(frozen=True, slots=True, eq=False)
class StepAttention:
    """Attention of one step's layers.

    Attributes:
        rotary: tables that turn nothing: queries and keys come turned
    """

    config: GeneralConfig
    context: ForwardContext
    rotary: tuple[torch.Tensor, torch.Tensor]

    def attend(self, call: LayerCall) -> torch.Tensor:
        context, kernels = self.context, self.context.kernels
        num_heads, value_dim = call.query.shape[1], call.value.shape[3]
        layer, params = call.layer, self.config.layers[call.layer]
        qkv = torch.cat([self._rows(x) for x in (call.query, call.key, call.value)], dim=1)
        kernels.rotate_and_write(
            qkv, self.rotary, None, context.kv_pool, layer, context.plan.slots, params
        )
        attended = kernels.paged_attention(
            qkv[:, :num_heads], context.kv_pool, layer, context.plan, params, call.sinks
        )
        by_head = attended.view(1, -1, num_heads, self.config.head_dim)
        return by_head[..., :value_dim].contiguous()

    def _rows(self, heads: torch.Tensor) -> torch.Tensor:
        """[1, heads, tokens, dim] -> [tokens, heads, head_dim] in the pool's type"""
        rows = heads[0].transpose(0, 1).to(self.rotary[0].dtype)
        num_missing = self.config.head_dim - rows.shape[2]
        return F.pad(rows, (0, num_missing)) if num_missing else rows


class GeneralNetwork:
    """See Network."""

    def __init__(self, parts: ModelParts, config: GeneralConfig, is_capturable: bool) -> None:
        self._parts = parts
        self._config = config
        self.dtype, self.device = parts.dtype, parts.device
        self._still = torch.zeros(config.head_dim // 2, device=self.device)
        self.is_capturable = is_capturable

    def compute_hidden(
        self, token_ids: torch.Tensor, wanted_rows: torch.Tensor, context: ForwardContext
    ) -> torch.Tensor:
        """Computes the step's tokens and stores their keys and values."""
        positions = context.plan.positions
        rotary = context.kernels.rotary_tables(positions, self._still, 1.0, self.dtype)
        attention = StepAttention(self._config, context, rotary)
        # Rows of padding may have any position, and learned ones are looked up in a table.
        positions = positions.long().clamp(0, self._config.max_context_len - 1)
        hidden = self._parts.hidden(token_ids.long(), positions, attention)
        return hidden.index_select(0, wanted_rows)

    def normed(self, hidden: torch.Tensor, kernels: Kernels) -> torch.Tensor:
        """The same rows: the last norm belongs to the layers here."""
        return hidden

    def logits(self, hidden: torch.Tensor, kernels: Kernels) -> torch.Tensor:
        """[rows, hidden] -> [rows, vocab]"""
        return self._parts.logits(hidden)
