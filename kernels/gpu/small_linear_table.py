"""Measured configurations of small_linear: tests/benchmarks/tune_linear.py prints this table."""

from legato.kernels.gpu.small_linear_config import SmallLinearConfig, Table

# NVIDIA H200, bfloat16. Key: rows of the weight, inputs, padded tokens; None: cuBLAS is faster.
# Value: block_rows, block_inputs, num_splits, num_warps, num_stages, max_prefetch_inputs
TABLE: Table = {
    (6144, 4096, 16): SmallLinearConfig(64, 64, 4, 4, 7, 256),
    (6144, 4096, 32): None,
    (6144, 4096, 64): None,
    (4096, 4096, 16): SmallLinearConfig(64, 128, 2, 4, 8, 256),
    (4096, 4096, 32): SmallLinearConfig(64, 128, 2, 4, 8, 256),
    (4096, 4096, 64): None,
    (28672, 4096, 16): SmallLinearConfig(64, 128, 1, 4, 5, 256),
    (28672, 4096, 32): SmallLinearConfig(64, 128, 1, 4, 4, 0),
    (28672, 4096, 64): SmallLinearConfig(128, 128, 1, 8, 4, 0),
    (4096, 14336, 16): SmallLinearConfig(64, 128, 2, 4, 8, 256),
    (4096, 14336, 32): SmallLinearConfig(64, 128, 2, 4, 8, 256),
    (4096, 14336, 64): SmallLinearConfig(64, 64, 2, 4, 8, 256),
    (128256, 4096, 16): SmallLinearConfig(64, 128, 1, 4, 5, 0),
    (128256, 4096, 32): SmallLinearConfig(64, 128, 1, 4, 4, 0),
    (128256, 4096, 64): SmallLinearConfig(128, 64, 1, 8, 8, 256),
}
