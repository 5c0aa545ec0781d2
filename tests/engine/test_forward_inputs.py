from legato.engine.batch import ScheduledBatch, ScheduledSequence
from legato.engine.forward_inputs import build_forward_inputs
from legato.engine.kv_cache import allocate_pool
from legato.engine.kv_layout import KVCacheSpec
from legato.tests.engine.batches import sampling_input

SPEC = KVCacheSpec(num_layers=1, num_kv_heads=1, head_dim=4, block_size=4, dtype="float32")


def scheduled(
    token_ids: tuple[int, ...], start: int, table: tuple[int, ...], samples: bool = True
) -> ScheduledSequence:
    return ScheduledSequence(7, token_ids, start, table, sampling_input() if samples else None)


def test_sequences_of_one_shape_lie_side_by_side() -> None:
    batch = ScheduledBatch(
        (
            scheduled((10, 11, 12), 0, (0,)),
            scheduled((20,), 6, (1, 2)),
            scheduled((30, 31, 32), 0, (3,), samples=False),
            scheduled((40,), 0, (4, 5)),
        )
    )
    inputs = build_forward_inputs(batch, allocate_pool(SPEC, 6))
    assert len(inputs.plan.groups) == 2
    assert inputs.token_ids.tolist() == [20, 40, 10, 11, 12, 30, 31, 32]
    assert inputs.plan.positions.tolist() == [6, 0, 0, 1, 2, 0, 1, 2]


def test_sampling_rows_stand_in_the_batchs_order() -> None:
    batch = ScheduledBatch(
        (
            scheduled((10, 11, 12), 0, (0,)),
            scheduled((20,), 6, (1, 2)),
            scheduled((30, 31), 0, (3,), samples=False),
        )
    )
    inputs = build_forward_inputs(batch, allocate_pool(SPEC, 4))
    assert inputs.token_ids[inputs.sampling_rows].tolist() == [12, 20]
