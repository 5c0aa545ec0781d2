"""The KV block pool as memory on a device: how much there is for it, and its tensor.

Layout and size follow from kv_layout.py.
"""

import math
import mmap

import torch

from legato.engine.config import CacheOptions
from legato.engine.host_memory import available_memory_bytes
from legato.engine.kv_layout import KVCacheSpec
from legato.engine.torch_dtypes import TORCH_DTYPES

CPU = torch.device("cpu")


def pool_memory_bytes(options: CacheOptions, device: torch.device, step_bytes: int) -> int:
    """Bytes that a pool on this device may take, with the weights in place.

    Args:
        step_bytes: what steps take of a GPU beside it
    """
    if device.type == "cpu":
        return available_memory_bytes()
    free, total = torch.cuda.mem_get_info(device)
    used = total - free
    return int(total * options.gpu_memory_utilization) - used - step_bytes


def allocate_pool(spec: KVCacheSpec, num_blocks: int, device: torch.device = CPU) -> torch.Tensor:
    """The pool's tensor. A host's memory is taken from the machine as it is first used."""
    shape, dtype = spec.pool_shape(num_blocks), TORCH_DTYPES[spec.dtype]
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    buffer = mmap.mmap(-1, num_blocks * spec.bytes_per_block)
    return torch.frombuffer(buffer, dtype=dtype, count=math.prod(shape)).view(shape)
