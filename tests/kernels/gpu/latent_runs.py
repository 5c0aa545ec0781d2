"""Runs the kernels of latent attention on batches with rows and sequences of padding."""

import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.decode_work import DecodeConfig, DecodeShape, DecodeWork, plan_decode
from legato.kernels.gpu.latent_decode import heads_of_decode_group, latent_decode
from legato.kernels.gpu.latent_prefill import latent_prefill
from legato.kernels.gpu.latent_shape import heads_of_group
from legato.kernels.gpu.prefill_work import PrefillConfig, PrefillWork, plan_prefill
from legato.tests.kernels.gpu.device import DEVICE
from legato.tests.kernels.latent_batches import LAYER, SCALE, LatentBatch, Shape

UNTOUCHED = 7.0
NUM_PADDING = 3  # rows


def device_batch(batch: LatentBatch) -> AttentionBatch:
    """With two sequences that have no query."""
    layout, rows = batch.layout, batch.query.shape[0]
    starts = [0, *layout.query_lens.cumsum(0).tolist(), rows, rows]
    tables = torch.cat((layout.block_tables, torch.full((2, layout.block_tables.shape[1]), 10**8)))
    return AttentionBatch(
        torch.tensor(starts, dtype=torch.int32, device=DEVICE),
        torch.tensor([*layout.context_lens.tolist(), 0, 0], dtype=torch.int32, device=DEVICE),
        tables.to(DEVICE, torch.int32),
    )


def padded_query(batch: LatentBatch) -> torch.Tensor:
    padding = torch.full_like(batch.query[:1], float("nan")).expand(NUM_PADDING, -1, -1)
    return torch.cat((batch.query, padding)).to(DEVICE)


def untouched_output(batch: LatentBatch, shape: Shape) -> torch.Tensor:
    rows = batch.query.shape[0] + NUM_PADDING
    size = (rows, shape.num_heads, shape.latent_dim)
    return torch.full(size, UNTOUCHED, dtype=batch.query.dtype, device=DEVICE)


def decode_group(shape: Shape, dtype: torch.dtype) -> int:
    """Heads of a tile."""
    return heads_of_decode_group(shape.num_heads, shape.latent_dim, dtype, DEVICE)


def run_decode(batch: LatentBatch, shape: Shape, config: DecodeConfig | None) -> torch.Tensor:
    """[rows + NUM_PADDING, heads, latent_dim] on the host."""
    on_device, output = device_batch(batch), untouched_output(batch, shape)
    groups = shape.num_heads // decode_group(shape, batch.pool.dtype)
    work_shape = DecodeShape(
        on_device.max_sequences,
        shape.num_heads,
        groups,
        shape.latent_dim,
        batch.pool.dtype,
        DEVICE,
    )
    work = DecodeWork.allocate(work_shape, config)
    plan_decode(on_device, work)
    pool, params = batch.pool.to(DEVICE), AttentionParams(SCALE)
    latent_decode(padded_query(batch), pool, LAYER, on_device, work, params, output)
    return output.cpu()


def run_prefill(batch: LatentBatch, shape: Shape, config: PrefillConfig) -> torch.Tensor:
    """[rows + NUM_PADDING, heads, latent_dim] on the host."""
    on_device, output = device_batch(batch), untouched_output(batch, shape)
    group, query = heads_of_group(shape.num_heads), padded_query(batch)
    work = PrefillWork.allocate(on_device.max_sequences, query.shape[0], group, config, DEVICE)
    plan_prefill(on_device, work)
    pool, params = batch.pool.to(DEVICE), AttentionParams(SCALE)
    latent_prefill(query, pool, LAYER, on_device, work, params, output)
    return output.cpu()


def wanted(batch: LatentBatch, shape: Shape, *, is_decode: bool) -> torch.Tensor:
    """What sequences with one query give, or those with more; float64."""
    found = untouched_output(batch, shape).cpu().double()
    exact = batch.textbook(shape.latent_dim)
    row = 0
    for query_len in batch.layout.query_lens.tolist():
        if (query_len == 1) == is_decode:
            found[row : row + query_len] = exact[row : row + query_len]
        row += query_len
    return found
