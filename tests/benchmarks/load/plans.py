"""What is measured, as presets: curves, what the targets ask for, or that everything works."""

from dataclasses import dataclass, replace

from legato.tests.benchmarks.load.results import Setup
from legato.tests.benchmarks.load.workload import LONG, SHORT, Workload

DEFAULT_BUDGET = "default"
IDLE, LOAD, GREEDY, LEAK, FAULTS = SECTIONS = ("idle", "load", "greedy", "leak", "faults")
DEFAULT_SECTIONS = (IDLE, LOAD, GREEDY, LEAK)  # faults are for a model whose answers repeat
Rates = tuple[tuple[Workload, tuple[float, ...]], ...]  # requests a second for each GPU


@dataclass(frozen=True, slots=True)
class IdlePlan:
    """Requests one by one."""

    num_prompt_tokens: int
    num_requests: int
    pause_s: float = 0.1


@dataclass(frozen=True, slots=True)
class LeakPlan:
    """Many requests, some of which are abandoned."""

    num_requests: int = 10_000
    concurrency: int = 512
    longest_stay_s: float = 1.5


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Requests that are sent once for each fault; they fit the built-in model's context."""

    workload: Workload
    num_requests: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is measured on the setups of one run."""

    rates: Rates
    colocated_rates: Rates
    duration_s: float
    idle: tuple[IdlePlan, ...]
    leak: LeakPlan
    colocated_budgets: tuple[str, ...]  # tokens of one step, a cluster for each
    faults: FaultPlan

    def rates_of(self, setup: Setup) -> Rates:
        return self.rates if setup.is_disaggregated else self.colocated_rates

    def sections_of(self, setup: Setup) -> tuple[str, ...]:
        """What the setup can tell: a small budget is there for its streams alone."""
        if setup.is_disaggregated:
            return SECTIONS
        return (IDLE, LOAD, GREEDY) if setup.budget == DEFAULT_BUDGET else (LOAD,)

    def shortened(self, factor: float, longest: int) -> "Plan":
        """For a model with a context of few tokens."""
        return replace(
            self,
            rates=_scaled(self.rates, factor),
            colocated_rates=_scaled(self.colocated_rates, factor),
            idle=tuple(
                replace(idle, num_prompt_tokens=min(longest, idle.num_prompt_tokens // 4))
                for idle in self.idle
            ),
        )


def _scaled(rates: Rates, factor: float) -> Rates:
    return tuple((workload.scaled(factor), values) for workload, values in rates)


_CURVES: Rates = ((LONG, (2.0, 3.0, 3.5, 4.0)), (SHORT, (8.0, 16.0)))
_SLOW: Rates = ((LONG.scaled(0.05), (1.5,)), (SHORT.scaled(0.1), (3.0,)))
DEFAULT = Plan(
    rates=_CURVES,
    colocated_rates=_CURVES,
    duration_s=40.0,
    idle=(IdlePlan(2048, 60), IdlePlan(8192, 15)),
    leak=LeakPlan(),
    colocated_budgets=(DEFAULT_BUDGET, "512"),
    faults=FaultPlan(Workload("faults", (100, 1500), (150, 400)), 64, 16),
)
QUICK = replace(
    DEFAULT,
    rates=((LONG, (3.0, 3.5)), (SHORT, (16.0,))),
    colocated_rates=((LONG, (3.0,)), (SHORT, (16.0,))),
    duration_s=25.0,
)
CPU = Plan(
    rates=_SLOW,
    colocated_rates=_SLOW,
    duration_s=5.0,
    idle=(IdlePlan(256, 8), IdlePlan(1024, 4)),
    leak=LeakPlan(200, 24, 0.5),
    colocated_budgets=(DEFAULT_BUDGET,),
    faults=FaultPlan(Workload("faults", (100, 800), (100, 250)), 24, 8),
)
