"""What a model reads in a step, beside its weights and the tokens."""

from dataclasses import dataclass
from typing import Any

import torch

from legato.kernels.backend import Kernels


@dataclass(frozen=True, slots=True, eq=False)
class ForwardContext:
    """One step, as all layers see it.

    Attributes:
        plan: what `kernels.plan_attention` made of the step
        kv_pool: [block, layer, k/v, kv_head, token, head_dim]
    """

    kernels: Kernels
    plan: Any
    kv_pool: torch.Tensor
