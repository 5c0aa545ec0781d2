"""The ring of each client's last sequences."""

import time

from legato.deployments.metrics import ServingMetrics
from legato.deployments.openai.recent import RecentSequences
from legato.deployments.openai.sequence_record import SequenceRecord


def _records(number: int) -> list[SequenceRecord]:
    metrics = ServingMetrics("m", 100)
    return [SequenceRecord(metrics, time.monotonic(), 0, 10) for _ in range(number)]


def test_the_newest_comes_first_and_the_oldest_goes() -> None:
    recent = RecentSequences(max_sequences=3)
    records = _records(5)
    recent.add(b"", records[:2])
    assert recent.latest(b"") == [(2, records[1]), (1, records[0])]
    recent.add(b"", records[2:])
    assert recent.latest(b"") == [(5, records[4]), (4, records[3]), (3, records[2])]


def test_clients_neither_see_nor_push_out_each_others() -> None:
    recent = RecentSequences(max_sequences=2)
    [mine, *others] = _records(5)
    recent.add(b"me", [mine])
    recent.add(b"others", others)
    assert recent.latest(b"me") == [(1, mine)]
    assert [number for number, _ in recent.latest(b"others")] == [4, 3]
    assert recent.latest(b"nobody") == []
