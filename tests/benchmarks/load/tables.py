"""What is printed: our figures beside must and aim, then beside the peer's."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from math import isnan

from legato.tests.benchmarks.load.figures import ITL_LIMITS_MS
from legato.tests.benchmarks.load.peer import PEER
from legato.tests.benchmarks.load.results import (
    FaultCheck,
    GreedyAnswers,
    IdlePoint,
    LeakCheck,
    LoadPoint,
    Results,
)
from legato.tests.benchmarks.report import Row

Limits = tuple[float | None, float | None]  # must and aim
_NONE: Limits = (None, None)
# (workload, requests a second for each GPU) -> the share at 10 ms, in percent
SHARE_LIMITS: dict[tuple[str, float], Limits] = {
    ("L", 3.0): (90.0, 90.0),
    ("L", 3.5): (90.0, 95.0),
    ("S", 16.0): (90.0, 97.0),
}
TTFT_LIMITS: dict[tuple[str, float], Limits] = {("L", 3.0): (170.0, 130.0)}
ITL_MUST_MS = 9.0
ITL_LIMITED = (("L", 3.0), ("L", 3.5))
PUSH_LIMITS: Limits = (330.0, 360.0)
PUSH_LIMITED_TOKENS = 2000  # and longer prompts
IDLE_RATIO_LIMITS: Limits = (1.05, 1.01)
# Of the longest silence, in seconds: a broken connection tells at once, an open one after a while.
KILL_GAP_LIMITS: Limits = (5.0, 1.0)
HANG_GAP_LIMITS: Limits = (15.0, 7.0)


def result_rows(results: Results, with_targets: bool) -> list[Row]:
    """All figures; `with_targets` for the model and the machine that the targets are for."""
    rows = [row for point in results.idle for row in _idle_rows(point)]
    rows += _idle_ratio_rows(results.idle)
    rows += [row for point in results.load for row in _load_rows(point)]
    if not with_targets:
        rows = [replace(row, must=None, aim=None) for row in rows]
    rows += [row for check in results.leaks for row in _leak_rows(check)]
    rows += _greedy_rows(results.greedy, must=not with_targets)
    rows += [row for check in results.faults for row in _fault_rows(check, must=not with_targets)]
    failed = sum(point.figures.num_failed for point in results.load)
    return [*rows, _lower("failed requests under load", failed, "", (0.0, 0.0))]


def _lower(name: str, value: float, unit: str, limits: Limits) -> Row:
    """A figure that should be low."""
    return Row(name, value, unit, *limits, higher_is_better=False)


def _load_rows(point: LoadPoint) -> list[Row]:
    figures = point.figures
    load = (point.workload, point.rate_per_gpu)
    is_ours = point.setup.is_disaggregated
    aim_ms = min(ITL_MUST_MS, 1.3 * figures.itl_p50_ms)
    itl_limits = (ITL_MUST_MS, aim_ms) if is_ours and load in ITL_LIMITED else _NONE
    share_limits = SHARE_LIMITS.get(load, _NONE) if is_ours else _NONE
    ttft_limits = TTFT_LIMITS.get(load, _NONE) if is_ours else _NONE
    strict, *looser = figures.shares.items()
    return [
        Row(f"{load[0]} {load[1]:g}/s, {point.setup.name}: requests", figures.num_requests, ""),
        _lower("  TTFT p50", figures.ttft_p50_ms, "ms", ttft_limits),
        Row("  TTFT p99", figures.ttft_p99_ms, "ms"),
        Row("  ITL p50", figures.itl_p50_ms, "ms"),
        _lower("  ITL p99", figures.itl_p99_ms, "ms", itl_limits),
        Row("  ITL longest", figures.itl_max_ms, "ms"),
        Row(f"  TTFT <= 0.5 s, own ITL p99 <= {strict[0]} ms", strict[1], "%", *share_limits),
        *(Row(f"  ... <= {limit} ms", share, "%") for limit, share in looser),
        Row("  output", figures.output_tokens_per_s, "tok/s"),
        Row("  tokens that came with others", figures.num_joined_tokens, ""),
        Row("  client late by, p99", figures.late_p99_ms, "ms"),
    ]


def _idle_rows(point: IdlePoint) -> list[Row]:
    must_ms = (15.0, 25.0)
    aim_ms = (1.5 * point.itl_p50_ms, 3 * point.itl_p50_ms)
    gap_limits: list[Limits] = [
        (must, min(must, aim)) for must, aim in zip(must_ms, aim_ms, strict=True)
    ]
    if not point.setup.is_disaggregated:
        gap_limits = [_NONE, _NONE]
    rows = [
        Row(f"{point.num_prompt_tokens} tokens idle, {point.setup.name}", point.num_requests, ""),
        Row("  TTFT p50", point.ttft_p50_ms, "ms"),
        Row("  TTFT p99", point.ttft_p99_ms, "ms"),
        Row("  ITL p50 behind the second token", point.itl_p50_ms, "ms"),
        _lower("  first to second token, p50", point.second_gap_p50_ms, "ms", gap_limits[0]),
        _lower("  first to second token, p99", point.second_gap_p99_ms, "ms", gap_limits[1]),
    ]
    if not point.setup.is_disaggregated:
        return rows
    rows.append(Row("  handed over", point.handed_over_share, "%"))
    if point.transfer_gb_per_s is not None:
        push_limits = PUSH_LIMITS if point.num_prompt_tokens >= PUSH_LIMITED_TOKENS else _NONE
        rows.append(Row("  KV push, median", point.transfer_gb_per_s, "GB/s", *push_limits))
    return rows


def _idle_ratio_rows(points: Sequence[IdlePoint]) -> list[Row]:
    """Disaggregated over colocated, both with the default budget."""
    ttfts = {(one.num_prompt_tokens, one.setup.is_disaggregated): one.ttft_p50_ms for one in points}
    return [
        _lower(
            f"idle TTFT, {length} tokens, disaggregated over colocated",
            ttft_ms / ttfts[length, False],
            "x",
            IDLE_RATIO_LIMITS,
        )
        for (length, is_disaggregated), ttft_ms in ttfts.items()
        if is_disaggregated and (length, False) in ttfts
    ]


def _leak_rows(check: LeakCheck) -> list[Row]:
    return [
        Row(f"leak test, {check.setup.name}: requests", check.num_requests, ""),
        Row("  left by their clients", check.num_left, ""),
        _lower("  failed", check.num_failed, "", (0.0, 0.0)),
        Row("  time", check.seconds, "s"),
        _lower("  blocks leaked", sum(check.leaked_blocks.values()), "", (0.0, 0.0)),
    ]


def _greedy_rows(answers: Sequence[GreedyAnswers], must: bool) -> list[Row]:
    """Random weights in bfloat16 leave ties, which batches of another size break otherwise."""
    limit = 100.0 if must else None
    rows = []
    for one, other in combinations(answers, 2):
        pairs = list(zip(one.token_ids, other.token_ids, strict=True))
        share = 100 * sum(a == b for a, b in pairs) / max(1, len(pairs))
        name = f"greedy: {one.setup.name} = {other.setup.name}"
        rows.append(Row(name, share, "%", limit, limit))
    return rows


def _fault_rows(check: FaultCheck, must: bool) -> list[Row]:
    """For equal answers the model must be one that gives the same in batches of any size."""
    equal_limit = 100.0 if must else None
    equal_share = 100 * check.num_equal / check.num_requests
    failovers = check.facts.get("legato_failovers_total", 0)
    gap_limits = HANG_GAP_LIMITS if check.is_hang else KILL_GAP_LIMITS
    num_hit = check.num_waiting + check.num_streaming
    return [
        Row(f"{check.fault}, {check.setup.name}: requests", check.num_requests, ""),
        Row("  of them open when it happened", num_hit, "", must=1),
        Row("  of those without a token yet", check.num_waiting, ""),
        Row("  answers equal, token for token", equal_share, "%", equal_limit, equal_limit),
        _lower("  failed", check.num_failed, "", (0.0, 0.0)),
        Row("  resumed elsewhere", failovers, ""),
        _lower("  longest time between two tokens", check.longest_gap_s, "s", gap_limits),
        Row("  longest time to a first token", check.longest_ttft_s, "s"),
        Row("  until its successor serves", check.replaced_s, "s"),
        _lower("  blocks leaked", sum(check.leaked_blocks.values()), "", (0.0, 0.0)),
    ]


def show_peer(points: Sequence[LoadPoint]) -> None:
    """Ours and the peer's, workload by workload, by rate for each GPU."""
    header = (
        *("load", "who", "TTFT p50", "p99", "ITL p50", "p99", "max"),
        *(f"<= {limit} ms" for limit in ITL_LIMITS_MS),
    )
    print(f"\n{_line(header)}\n{_line('-' * _width(index) for index in range(len(header)))}")
    ours = [
        (
            (point.workload, point.rate_per_gpu, 0),
            point.setup.name,
            (point.figures.ttft_p50_ms, point.figures.ttft_p99_ms),
            (point.figures.itl_p50_ms, point.figures.itl_p99_ms, point.figures.itl_max_ms),
            tuple(point.figures.shares.values()),
        )
        for point in points
    ]
    rates = {(point.workload, point.rate_per_gpu) for point in points}
    theirs = [
        (
            (peer.workload, peer.rate_per_gpu, 1),
            f"vLLM, {peer.budget}",
            (peer.ttft_p50_ms, peer.ttft_p99_ms),
            (peer.itl_p50_ms, peer.itl_p99_ms, peer.itl_max_ms),
            peer.shares,
        )
        for peer in PEER
        if (peer.workload, peer.rate_per_gpu) in rates
    ]
    for (workload, rate, _), who, ttfts, gaps, shares in sorted(
        [*ours, *theirs], key=lambda row: row[0]
    ):
        times = [_number(time, "ms") for time in (*ttfts, *gaps)]
        print(_line([f"{workload} {rate:g}/s", who, *times, *(_number(s, "%") for s in shares)]))


def _number(value: float, unit: str) -> str:
    return "-" if isnan(value) else f"{value:.3g} {unit}"


def _width(column: int) -> int:
    return 34 if column == 1 else 9


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.ljust(_width(i)) for i, cell in enumerate(cells)) + " |"
