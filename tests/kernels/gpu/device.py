"""Where the tests of Triton kernels run: on the GPU, or without one in Triton's interpreter.

The interpreter computes bfloat16 wrongly, so there are two floating-point types for it and three
for a GPU.
"""

import torch

HAS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if HAS_GPU else "cpu")
DTYPES = (torch.float32, torch.float16, *((torch.bfloat16,) if HAS_GPU else ()))
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
