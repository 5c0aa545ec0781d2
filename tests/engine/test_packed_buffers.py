import torch

from legato.engine.packed_buffers import Field, PackedBuffers
from legato.tests.kernels.gpu.device import DEVICE

FIELDS = {
    "lens": Field("int32", (3,)),
    "scales": Field("float32", (2, 2)),
    "seeds": Field("int64", (5,)),
}


def test_an_upload_takes_all_arrays_over() -> None:
    buffers = PackedBuffers(FIELDS, DEVICE)
    buffers.host["lens"][:] = [1, 2, 3]
    buffers.host["scales"][1] = 0.5
    buffers.host["seeds"][4] = -(1 << 60)
    buffers.upload()
    buffers.host["lens"][:] = 0  # the upload has what was there when it was called
    assert buffers.device["lens"].tolist() == [1, 2, 3]
    assert buffers.device["scales"].tolist() == [[0, 0], [0.5, 0.5]]
    assert buffers.device["seeds"].tolist() == [0, 0, 0, 0, -(1 << 60)]
    assert buffers.device["seeds"].dtype is torch.int64


def test_arrays_begin_where_kernels_can_load_them() -> None:
    buffers = PackedBuffers(FIELDS, DEVICE)
    assert all(tensor.data_ptr() % 16 == 0 for tensor in buffers.device.values())
