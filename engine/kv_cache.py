"""The KV block pool as memory: its layout, its size, its tensor.

    [block, layer, k/v, kv_head, token, head_dim]

A block is one contiguous range that holds `block_size` tokens of every layer, so that pushing,
digesting or offloading a block touches one range. Which block belongs to whom is not known here.
"""

import math
import mmap
from dataclasses import dataclass

import torch

from legato.engine.config import CacheOptions
from legato.engine.errors import ConfigError
from legato.engine.host_memory import available_memory_bytes

CPU = torch.device("cpu")
DEFAULT_CPU_POOL_BYTES = 4 << 30
# The rest is for weights still to come, activations and everyone else on the machine.
MAX_MEMORY_SHARE = 0.5
# Of a GPU, for activations and logits of one step.
GPU_ACTIVATION_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class KVCacheSpec:
    """What one block holds."""

    num_layers: int
    num_kv_heads: int
    head_dim: int
    block_size: int  # tokens
    dtype: torch.dtype

    @property
    def bytes_per_token(self) -> int:
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * self.dtype.itemsize

    @property
    def bytes_per_block(self) -> int:
        return self.bytes_per_token * self.block_size

    def pool_shape(self, num_blocks: int) -> tuple[int, int, int, int, int, int]:
        """[block, layer, k/v, kv_head, token, head_dim]"""
        return (
            num_blocks,
            self.num_layers,
            2,
            self.num_kv_heads,
            self.block_size,
            self.head_dim,
        )

    def num_blocks_of(self, num_tokens: int) -> int:
        """Blocks that hold `num_tokens` tokens."""
        return -(-num_tokens // self.block_size)


def allocate_pool(
    spec: KVCacheSpec, num_blocks: int, device: torch.device = CPU
) -> torch.Tensor:
    """The pool's tensor. A host's memory is taken from the machine as it is first used."""
    shape = spec.pool_shape(num_blocks)
    if device.type != "cpu":
        return torch.empty(shape, dtype=spec.dtype, device=device)
    buffer = mmap.mmap(-1, num_blocks * spec.bytes_per_block)
    return torch.frombuffer(buffer, dtype=spec.dtype, count=math.prod(shape)).view(shape)


@dataclass(frozen=True, slots=True)
class PoolDemand:
    """What a pool is for."""

    max_model_len: int  # tokens
    max_num_seqs: int
    device: torch.device


def num_blocks_for(spec: KVCacheSpec, options: CacheOptions, demand: PoolDemand) -> int:
    """Blocks of a pool.

    A number or size that the operator gives is taken as it stands. Otherwise a GPU's pool takes
    what its share of the GPU's memory leaves, and a host's is as large as `max_num_seqs` sequences
    of `max_model_len` tokens need, within 4 GiB and half of the memory.

    Raises:
        ConfigError: not one sequence of `max_model_len` tokens fits, or the memory is not there.
    """
    on_host = demand.device.type == "cpu"
    available = available_memory_bytes() if on_host else _gpu_budget(options, demand.device)
    if options.num_gpu_blocks_override is not None:
        num_blocks = options.num_gpu_blocks_override
    elif options.kv_cache_memory_bytes is not None:
        num_blocks = options.kv_cache_memory_bytes // spec.bytes_per_block
    elif on_host:
        budget = min(DEFAULT_CPU_POOL_BYTES, int(available * MAX_MEMORY_SHARE))
        most_useful = demand.max_num_seqs * spec.num_blocks_of(demand.max_model_len)
        num_blocks = min(budget // spec.bytes_per_block, most_useful)
    else:
        num_blocks = max(available, 0) // spec.bytes_per_block
    _check_size(spec, num_blocks, demand.max_model_len)
    if num_blocks * spec.bytes_per_block > available:
        raise ConfigError(
            f"a KV cache of {num_blocks * spec.bytes_per_block / 2**30:.1f} GiB does not fit the"
            f" {available / 2**30:.1f} GiB of memory that are left: lower --kv-cache-memory-bytes"
        )
    return num_blocks


def _check_size(spec: KVCacheSpec, num_blocks: int, max_model_len: int) -> None:
    if num_blocks < spec.num_blocks_of(max_model_len):
        needed = spec.num_blocks_of(max_model_len) * spec.bytes_per_block
        raise ConfigError(
            f"the KV cache holds {num_blocks * spec.block_size} tokens, too few for one sequence of"
            f" {max_model_len}: lower --max-model-len, or raise --kv-cache-memory-bytes to {needed}"
        )


def _gpu_budget(options: CacheOptions, device: torch.device) -> int:
    """Bytes that the worker's share of the GPU leaves, with the weights in place."""
    free, total = torch.cuda.mem_get_info(device)
    used = total - free
    return int(total * options.gpu_memory_utilization) - used - GPU_ACTIVATION_BYTES
