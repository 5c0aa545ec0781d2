"""The number types of dtypes.py as torch knows them."""

import torch

from legato.engine.dtypes import DTYPE_BYTES

TORCH_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_BYTES}
