"""What the page at / is made of, and what it watches.

    GET /activity   {"workers": [last report, ...], "requests": [newest, ..., oldest]}

The page asks once a second while somebody looks; until then nothing is made. Each router knows the
sequences that it took in itself.
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from legato.deployments.openai.auth import tenant
from legato.deployments.openai.playground import PAGE_HEADERS, PageFile
from legato.deployments.openai.sequence_record import SequenceRecord
from legato.deployments.openai.service import ApiService


class ActivityView(msgspec.Struct, frozen=True):
    """One sequence; seconds count from its arrival."""

    number: int
    duration_s: float  # until now, if it goes on
    ttft_s: float | None
    outcome: str | None  # stop, length, abort or error; None: it goes on
    num_prompt_tokens: int
    num_cached_tokens: int
    num_generated_tokens: int
    workers: list[tuple[str, float]]  # that generated it, each from its first token on
    stages: Mapping[str, float]  # seconds by stage, and transfer_bytes


async def page_file(file: PageFile, service: ApiService, http: Request) -> Response:
    return Response(file.content, headers=dict(PAGE_HEADERS), media_type=file.media_type)


async def activity(service: ApiService, http: Request) -> Response:
    now_s = time.monotonic()
    latest = service.recent.latest(tenant(http.scope))
    view: dict[str, Any] = {
        "workers": [msgspec.structs.asdict(one) for one in service.metrics.worker_reports()],
        "requests": [_view(number, record, now_s) for number, record in latest],
    }
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(view), headers=headers, media_type="application/json")


def _view(number: int, record: SequenceRecord, now_s: float) -> ActivityView:
    return ActivityView(
        number=number,
        duration_s=now_s - record.arrived_s if record.e2e_s is None else record.e2e_s,
        ttft_s=record.ttft_s,
        outcome=record.outcome,
        num_prompt_tokens=record.num_prompt_tokens,
        num_cached_tokens=record.num_cached_tokens,
        num_generated_tokens=record.num_tokens,
        workers=record.workers,
        stages=record.timeline,
    )
