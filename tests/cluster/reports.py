"""A worker's report, for tests that need one with a few values of their own."""

from typing import Any

import msgspec

from legato.cluster.wire import Report

_IDLE = Report(
    worker="w",
    role="decode",
    num_running=0,
    num_waiting=0,
    num_queued_prefill_tokens=0,
    num_free_blocks=100,
    num_total_blocks=100,
    block_size=16,
    num_reserved_blocks=0,
    num_quarantined_blocks=0,
    prefill_tokens_per_s=0.0,
    step_time_s=0.0,
    transfer_bytes_per_s=2e9,
    bytes_per_block=1024,
    counters={},
)


def make_report(**changes: Any) -> Report:
    """What an idle decode worker reports, but for `changes`."""
    return msgspec.structs.replace(_IDLE, **changes)
