"""What an engine reports of itself: how full it is now, and what it has done since its start."""

from dataclasses import dataclass


@dataclass(slots=True)
class EngineTotals:
    """Counts since the start; they only rise. The scheduler counts, readers get copies."""

    steps: int = 0
    prompt_tokens: int = 0  # of sequences that were started
    generation_tokens: int = 0
    prefill_tokens: int = 0  # computed for sequences that needed more than one
    prefix_cache_queries: int = 0  # prompt tokens looked up
    prefix_cache_hits: int = 0  # of those, tokens found
    preemptions: int = 0
    finished_sequences: int = 0
    aborted_sequences: int = 0


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The load at one moment."""

    num_running: int
    num_waiting: int
    num_paused: int
    num_queued_prefill_tokens: int  # known, not computed, of sequences that need more than one
    num_free_blocks: int  # free or evictable
    num_total_blocks: int
    totals: EngineTotals
