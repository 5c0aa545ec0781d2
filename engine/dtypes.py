"""The number types of weights and KV cache, by name; torch's own are torch_dtypes.py's."""

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
