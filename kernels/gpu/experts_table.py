"""Measured configurations of expert_linear: tests/benchmarks/tune_experts.py prints this table."""

from legato.kernels.gpu.experts_config import Table

# Value: block_rows, block_inputs, num_warps, num_stages, group_tiles
TABLE: Table = {}
