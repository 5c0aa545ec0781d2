"""The sequences of late, for those who watch: times and counts, no text.

    Generation --add--> a client's records  [ 37 | 38 | 39 | 40 ]  <--latest-- GET /activity
                                              `-- oldest: goes when 41 comes

A sequence is here from its admission on; its record is the one that its task goes on writing to, so
that nothing is done here for a token. Clients are what API keys identify: none sees another's.
"""

from collections import deque
from collections.abc import Iterable

from legato.deployments.openai.sequence_record import SequenceRecord

MAX_SEQUENCES = 64  # of each client


class _Client:
    """One client's records, the oldest first."""

    def __init__(self, max_sequences: int) -> None:
        self.records: deque[SequenceRecord] = deque(maxlen=max_sequences)
        self.num_added = 0


class RecentSequences:
    """The last sequences of each client; there are as few clients as keys."""

    def __init__(self, max_sequences: int = MAX_SEQUENCES) -> None:
        self._max_sequences = max_sequences
        self._clients: dict[bytes, _Client] = {}

    def add(self, tenant: bytes, records: Iterable[SequenceRecord]) -> None:
        """These were admitted now, in this order."""
        client = self._clients.get(tenant)
        if client is None:
            client = self._clients[tenant] = _Client(self._max_sequences)
        for record in records:
            client.records.append(record)
            client.num_added += 1

    def latest(self, tenant: bytes) -> list[tuple[int, SequenceRecord]]:
        """The newest first, each with its number: the client's first one ever was 1."""
        client = self._clients.get(tenant)
        if client is None:
            return []
        numbers = range(client.num_added, 0, -1)
        return list(zip(numbers, reversed(client.records), strict=False))
