import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from legato.engine.batch import ScheduledSequence
from legato.engine.row_table import RowTable
from legato.tests.engine.batches import scheduled

MAX_ROWS, MAX_BLOCKS = 6, 5


def sequences(tables: dict[int, tuple[int, ...]]) -> list[ScheduledSequence]:
    return [scheduled(seq_id, table) for seq_id, table in tables.items()]


def device_rows(table: RowTable, copy: np.ndarray) -> dict[int, tuple[int, ...]]:
    """What a device that got every change has in its rows, cut to the sequences' lengths."""
    indices, values = table.take_changes()
    copy.reshape(-1)[indices] = values
    return {seq_id: tuple(copy[row].tolist()) for row, seq_id in enumerate(table.seq_ids)}


def test_rows_are_dense_and_a_leaving_sequence_is_replaced_by_the_last() -> None:
    table = RowTable(MAX_ROWS, MAX_BLOCKS)
    table.update(sequences({7: (1,), 3: (2,), 9: (4, 5)}))
    assert table.seq_ids == [7, 3, 9]
    table.update(sequences({9: (4, 5), 3: (2,)}))
    assert table.seq_ids == [9, 3]
    assert table.block_tables[0, :2].tolist() == [4, 5]


def test_only_what_has_changed_is_handed_out() -> None:
    table, first, grown = RowTable(MAX_ROWS, MAX_BLOCKS), (1, 2), (1, 2, 8)
    table.update(sequences({7: first, 3: (5,)}))
    assert table.take_changes()[1].tolist() == [1, 2, 5]
    table.update(sequences({7: first, 3: (5,)}))
    assert table.take_changes()[1].size == 0
    table.update(sequences({7: grown, 3: (5,)}))
    indices, values = table.take_changes()
    assert (indices.tolist(), values.tolist()) == ([2], [8])


def test_a_sequence_that_comes_back_with_other_blocks_is_written_anew() -> None:
    table = RowTable(MAX_ROWS, MAX_BLOCKS)
    table.update(sequences({7: (1, 2, 3)}))
    table.take_changes()
    table.update(sequences({7: (1, 9)}))
    indices, values = table.take_changes()
    assert (indices.tolist(), values.tolist()) == ([0, 1], [1, 9])


tables = st.dictionaries(
    st.integers(0, 8),
    st.lists(st.integers(0, 50), min_size=1, max_size=MAX_BLOCKS).map(tuple),
    min_size=1,
    max_size=MAX_ROWS,
)


@given(st.lists(tables, min_size=1, max_size=8))
def test_a_device_that_takes_all_changes_has_every_table(
    steps: list[dict[int, tuple[int, ...]]],
) -> None:
    table, copy = RowTable(MAX_ROWS, MAX_BLOCKS), np.zeros((MAX_ROWS, MAX_BLOCKS), np.int32)
    for step in steps:
        table.update(sequences(step))
        found = device_rows(table, copy)
        assert found.keys() == step.keys()
        for seq_id, blocks in step.items():
            assert found[seq_id][: len(blocks)] == blocks
