"""Grants that reached the prefill worker before the router's Submit did.

The two come over different streams, so either may be first. A Grant whose Submit does not come in
time (it is lost, or the sequence is over and forgotten) is abandoned, so that the decode worker
gets its blocks back. Once its blocks are given up, a Grant must never be used again: transfers
whose Grant was revoked or abandoned are remembered, and their Submit finds a Deny.
"""

from collections import OrderedDict
from dataclasses import dataclass

from legato.cluster.wire import Abandon, Deny, Grant

MAX_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class _EarlyGrant:
    worker: str
    grant: Grant
    given_up_at: float


class EarlyGrants:
    """Keeps each Grant for `patience_s` seconds; `worker` is always the decode worker."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._held: dict[bytes, _EarlyGrant] = {}  # by transfer
        self._given_up: OrderedDict[bytes, str] = OrderedDict()  # transfer -> worker

    def hold(self, worker: str, grant: Grant, now: float) -> None:
        """Keeps a Grant for a transfer that is not known here."""
        if self._given_up.get(grant.transfer) != worker:
            early = _EarlyGrant(worker, grant, now + self._patience_s)
            self._held.setdefault(grant.transfer, early)

    def claim(self, transfer: bytes, worker: str) -> Grant | Deny | None:
        """What `worker` said about this transfer before its Submit came, to be handled now."""
        if self._given_up.get(transfer) == worker:
            return Deny(transfer)
        held = self._held.get(transfer)
        if held is None or held.worker != worker:
            return None
        del self._held[transfer]
        return held.grant

    def revoke(self, transfer: bytes, worker: str) -> None:
        """`worker` took back a Grant that is not in use here; the caller answers with Stopped."""
        held = self._held.get(transfer)
        if held is not None and held.worker == worker:
            del self._held[transfer]
        self._remember(transfer, worker)

    def link_lost(self, worker: str) -> None:
        """Grants of a lost link hold no longer, and none of it can still be on its way."""
        for transfer in [key for key, held in self._held.items() if held.worker == worker]:
            del self._held[transfer]
        for transfer in [key for key, revoker in self._given_up.items() if revoker == worker]:
            del self._given_up[transfer]

    def expire(self, now: float) -> tuple[tuple[str, Abandon], ...]:
        """Gives up on Grants that waited too long; returns whom to tell what."""
        late = [held for held in self._held.values() if held.given_up_at <= now]
        for held in late:
            del self._held[held.grant.transfer]
            self._remember(held.grant.transfer, held.worker)
        return tuple(
            (held.worker, Abandon(held.grant.transfer, held.grant.handle)) for held in late
        )

    def _remember(self, transfer: bytes, worker: str) -> None:
        self._given_up[transfer] = worker
        if len(self._given_up) > MAX_REMEMBERED:
            self._given_up.popitem(last=False)
