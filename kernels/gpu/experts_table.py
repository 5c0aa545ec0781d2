"""Measured configurations of expert_linear: tests/benchmarks/tune_experts.py prints this table.

Only those that are faster than the guess of experts_config.py.
Of an H200, whose largest tiles are expert_linear_gluon.py's.
"""

from legato.kernels.gpu.experts_config import ProductConfig, ProductShape, Table

# Value: block_rows, block_inputs, num_warps, num_stages
TABLE: Table = {
    # Mixtral 8x7B
    ProductShape(4096, 14336, block_pairs=16, is_gated=False): ProductConfig(64, 128, 4, 8),
    ProductShape(28672, 4096, block_pairs=32, is_gated=True): ProductConfig(128, 128, 4, 5),
    ProductShape(28672, 4096, block_pairs=64, is_gated=True): ProductConfig(128, 128, 8, 4),
    ProductShape(4096, 14336, block_pairs=64, is_gated=False): ProductConfig(128, 128, 8, 4),
    # Qwen3-30B-A3B
    ProductShape(1536, 2048, block_pairs=16, is_gated=True): ProductConfig(64, 128, 4, 3),
    ProductShape(2048, 768, block_pairs=16, is_gated=False): ProductConfig(128, 128, 4, 3),
}
