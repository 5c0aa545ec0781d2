"""The KV block pool's layout and size, before there is any memory behind it.

    [block, layer, k/v, kv_head, token, head_dim]

Where values are parts of keys, there are keys alone: k/v is 1 long. A block is one contiguous range
that holds `block_size` tokens of every layer, so that pushing, digesting or offloading a block
touches one range. Which block belongs to whom is not known here, nor how much memory there is:
that comes in as a value.
"""

from dataclasses import dataclass

from legato.engine.config import CacheOptions
from legato.engine.dtypes import DTYPE_BYTES
from legato.engine.errors import ConfigError

DEFAULT_HOST_POOL_BYTES = 4 << 30
# The rest is for weights still to come, activations and everyone else on the machine.
MAX_HOST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class KVCacheSpec:
    """What one block holds."""

    num_layers: int
    num_kv_heads: int
    head_dim: int
    block_size: int  # tokens
    dtype: str  # one of DTYPE_BYTES
    has_values: bool = True  # apart from keys

    @property
    def bytes_per_token(self) -> int:
        num_values = self.num_layers * self._num_parts * self.num_kv_heads * self.head_dim
        return num_values * DTYPE_BYTES[self.dtype]

    @property
    def bytes_per_block(self) -> int:
        return self.bytes_per_token * self.block_size

    def pool_shape(self, num_blocks: int) -> tuple[int, int, int, int, int, int]:
        """[block, layer, k/v, kv_head, token, head_dim]"""
        return (
            num_blocks,
            self.num_layers,
            self._num_parts,
            self.num_kv_heads,
            self.block_size,
            self.head_dim,
        )

    @property
    def _num_parts(self) -> int:
        return 2 if self.has_values else 1

    def num_blocks_of(self, num_tokens: int) -> int:
        """Blocks that hold `num_tokens` tokens."""
        return -(-num_tokens // self.block_size)


@dataclass(frozen=True, slots=True)
class PoolDemand:
    """What a pool is for, and what it may take."""

    max_model_len: int  # tokens
    max_num_seqs: int
    available_bytes: int
    on_host: bool  # in memory that is not the engine's alone


def num_blocks_for(spec: KVCacheSpec, options: CacheOptions, demand: PoolDemand) -> int:
    """Blocks of a pool.

    A number or size that the operator gives is taken as it stands. Otherwise a GPU's pool takes
    all that is available, and a host's is as large as `max_num_seqs` sequences of `max_model_len`
    tokens need, within 4 GiB and half of the memory.

    Raises:
        ConfigError: not one sequence of `max_model_len` tokens fits, or the memory is not there.
    """
    available = demand.available_bytes
    if options.num_gpu_blocks_override is not None:
        num_blocks = options.num_gpu_blocks_override
    elif options.kv_cache_memory_bytes is not None:
        num_blocks = options.kv_cache_memory_bytes // spec.bytes_per_block
    elif demand.on_host:
        budget = min(DEFAULT_HOST_POOL_BYTES, int(available * MAX_HOST_SHARE))
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
