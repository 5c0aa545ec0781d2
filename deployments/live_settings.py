"""What may change while a deployment serves: Serve's `user_config`, for the router and for workers.

    serveConfigV2: applications: deployments:
      - name: router          user_config: {max_num_queued_reqs: 200}
      - name: prefill-worker  user_config: {prefill_token_budget: 2048}

Serve hands a changed `user_config` to the replicas that run; anything under `args` starts new ones.
What is not given there is as in the application's own options.
"""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from legato.deployments.config import AppConfig
from legato.engine.config import nearest_name, option
from legato.engine.errors import ConfigError
from legato.engine.option_values import option_value

T = TypeVar("T", bound="RouterSettings | WorkerSettings")

logger = logging.getLogger(__name__)

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """Of a router's replicas."""

    max_num_queued_reqs: int = option(1024, "see SchedulerOptions", minimum=0)
    local_prefill_max_tokens: int | None = option(None, "see ClusterOptions", minimum=0)
    log_level: str = option("INFO", "of Legato's own log lines", LOG_LEVELS)

    @classmethod
    def of(cls, config: AppConfig) -> "RouterSettings":
        """What the application was started with."""
        return cls(
            max_num_queued_reqs=config.scheduler.max_num_queued_reqs,
            local_prefill_max_tokens=config.cluster.local_prefill_max_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Of a worker's replicas."""

    prefill_token_budget: int | None = option(
        None, "tokens of a step that may go to prompts; default: all", minimum=1
    )
    log_level: str = option("INFO", "of Legato's own log lines", LOG_LEVELS)


class LiveSettings(Generic[T]):
    """A replica's settings, which start from those of its application.

    A mistake in them keeps a new replica from starting. One that runs keeps what it has: Serve
    would end it, and its answers, for a word that is misspelt.
    """

    def __init__(self, initial: T) -> None:
        self._initial = initial
        self._current: T | None = None

    def take(self, user_config: Mapping[str, Any]) -> T:
        """What holds from now on.

        Raises:
            ConfigError: `user_config` has a mistake, and it is the first.
        """
        try:
            self._current = changed(self._initial, user_config)
        except ConfigError as error:
            if self._current is None:
                raise
            logger.error("user_config is not taken: %s", error)
        return self._current


def changed(settings: T, user_config: Mapping[str, Any]) -> T:
    """`settings` with what `user_config` says instead.

    Raises:
        ConfigError: a name is unknown (the message names the nearest), or a value is not allowed.
    """
    fields = {one.name: one for one in dataclasses.fields(settings)}
    for name in user_config:
        if name not in fields:
            raise ConfigError(f"unknown setting {name}{nearest_name(name, fields)}")
    values = {name: option_value(fields[name], value) for name, value in user_config.items()}
    return dataclasses.replace(settings, **values)
