from legato.engine.dtypes import DTYPE_BYTES
from legato.engine.torch_dtypes import TORCH_DTYPES


def test_torch_has_each_type_in_the_size_that_its_name_stands_for() -> None:
    assert {name: dtype.itemsize for name, dtype in TORCH_DTYPES.items()} == DTYPE_BYTES
    assert all(str(dtype) == f"torch.{name}" for name, dtype in TORCH_DTYPES.items())
