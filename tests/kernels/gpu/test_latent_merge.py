"""Parts that are in the workspace already, merged as the textbook says."""

import math

import torch

from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.decode_work import (
    ITEM_FIELDS,
    SPAN_FIELDS,
    DecodeConfig,
    DecodeShape,
    DecodeWork,
    plan_decode,
)
from legato.kernels.gpu.latent_merge import merge_latent_parts
from legato.kernels.gpu.latent_shape import LatentShape
from legato.tests.kernels.gpu.device import DEVICE

GROUP, NUM_GROUPS, LATENT_DIM, TILE = 4, 2, 32, 16
SHAPE = LatentShape(GROUP, NUM_GROUPS, 16, LATENT_DIM, 16, block_size=16, tile=TILE)
UNTOUCHED = 7.0


def planned_work(context_lens: list[int]) -> DecodeWork:
    count = len(context_lens)
    shape = DecodeShape(count, GROUP * NUM_GROUPS, NUM_GROUPS, LATENT_DIM, torch.float32, DEVICE)
    work = DecodeWork.allocate(shape, DecodeConfig(TILE, 4, 1, 2, min_span_tokens=3 * TILE))
    batch = AttentionBatch(
        torch.arange(count + 1, dtype=torch.int32, device=DEVICE),
        torch.tensor(context_lens, dtype=torch.int32, device=DEVICE),
        torch.zeros(count, 1, dtype=torch.int32, device=DEVICE),
    )
    plan_decode(batch, work)
    return work


def places_of_pieces(work: DecodeWork) -> dict[tuple[int, int], list[int]]:
    """The workspace's places of each piece (row, group) that spans cut, in its order."""
    found: dict[tuple[int, int], list[int]] = {}
    items = work.items.view(-1, ITEM_FIELDS.value).tolist()
    for program, fields in enumerate(work.spans.view(-1, SPAN_FIELDS.value).tolist()):
        position, end, _, item = fields[:4]
        while position < end:
            _, row, context_len, begin = items[item]
            num_tiles = -(-context_len // TILE)
            group, first = divmod(position - begin, num_tiles)
            count = min(num_tiles - first, end - position)
            if count < num_tiles:
                found.setdefault((row, group), []).append(2 * program + (first == 0))
            position += count
            item += position == begin + num_tiles * NUM_GROUPS
    return found


def test_cut_pieces_are_merged_and_whole_ones_left_alone() -> None:
    context_lens = [5, 200, 16, 90, 33, 300]
    work = planned_work(context_lens)
    work.partial_outputs.normal_()
    work.partial_lses.normal_()
    output = torch.full((len(context_lens), GROUP * NUM_GROUPS, LATENT_DIM), UNTOUCHED).to(DEVICE)
    expected = output.clone()
    cut = places_of_pieces(work)
    assert any(len(places) > 2 for places in cut.values()) and len(cut) < 2 * len(context_lens)
    for (row, group), places in cut.items():
        parts = work.partial_outputs.view(-1, GROUP, LATENT_DIM)[places]
        lses = work.partial_lses.view(-1, GROUP)[places]  # to base 2
        weights = torch.softmax(math.log(2) * lses, 0)
        heads = slice(group * GROUP, (group + 1) * GROUP)
        expected[row, heads] = (parts * weights[:, :, None]).sum(0)
    merge_latent_parts(work, SHAPE, output)
    torch.testing.assert_close(output, expected)
