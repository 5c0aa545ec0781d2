"""Serve's `user_config`, as routers and workers read it."""

from typing import Any

import pytest

from legato.deployments.config import AppConfig
from legato.deployments.live_settings import (
    LiveSettings,
    RouterSettings,
    WorkerSettings,
    changed,
)
from legato.engine.errors import ConfigError


def test_what_is_not_given_is_as_in_the_applications_options() -> None:
    options = {"model": "m", "max_num_queued_reqs": 5, "local_prefill_max_tokens": 17}
    settings = RouterSettings.of(AppConfig.from_options(options))
    assert changed(settings, {}) == settings
    assert (settings.max_num_queued_reqs, settings.local_prefill_max_tokens) == (5, 17)
    now = changed(settings, {"max_num_queued_reqs": 9})
    assert (now.max_num_queued_reqs, now.local_prefill_max_tokens) == (9, 17)
    assert changed(settings, {"local_prefill_max_tokens": None}).local_prefill_max_tokens is None


@pytest.mark.parametrize(
    ("user_config", "message"),
    [
        ({"prefill_token_budgt": 8}, r"unknown setting.*prefill_token_budget\?"),
        ({"prefill_token_budget": 0}, "prefill_token_budget"),
        ({"log_level": "LOUD"}, "log_level.*WARNING"),
        ({"max_num_seqs": 8}, "unknown setting max_num_seqs"),
    ],
)
def test_a_mistake_is_one_clear_line(user_config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        changed(WorkerSettings(), user_config)


def test_a_mistake_keeps_a_replica_from_starting_but_ends_none_that_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mistake = {"log_levl": "INFO"}
    with pytest.raises(ConfigError):
        LiveSettings(WorkerSettings()).take(mistake)
    running = LiveSettings(WorkerSettings())
    before = running.take({"prefill_token_budget": 64})
    assert running.take(mistake) == before
    assert "log_levl" in caplog.text
    assert running.take({}) == WorkerSettings()
