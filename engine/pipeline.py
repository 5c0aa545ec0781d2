"""The steps between launch and collection: first in, first out.

    launch(planned) --> | newest ... oldest | --> collect() -> (planned, result)
                        |<- pipeline_depth->|

It knows neither sequences nor blocks. The runner decides how deep the pipeline is: deeper than one
only where a device computes by itself while the host goes on.
"""

from collections import deque
from typing import Protocol

from legato.engine.batch import RunResult, ScheduledBatch
from legato.engine.step_plan import PlannedStep


class PendingResult(Protocol):
    """A step that the device works on."""

    def wait(self) -> RunResult:
        """Blocks until the step is finished. Called at most once, the oldest step's first."""
        ...


class Runner(Protocol):
    """What computes batches, in the order of their launches: a model, or a stand-in."""

    @property
    def pipeline_depth(self) -> int:
        """Steps that may be under way: with 1, each is collected before the next is planned."""
        ...

    def launch(self, batch: ScheduledBatch) -> PendingResult: ...


class StepPipeline:
    """The steps that a runner has under way."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._under_way: deque[tuple[PlannedStep, PendingResult]] = deque()

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def has_room(self) -> bool:
        return len(self._under_way) < self._runner.pipeline_depth

    def launch(self, planned: PlannedStep) -> None:
        """Raises: what the runner raises."""
        self._under_way.append((planned, self._runner.launch(planned.batch)))

    def collect(self) -> tuple[PlannedStep, RunResult]:
        """Waits for the oldest step. Raises: what the runner raises."""
        planned, pending = self._under_way.popleft()
        result = pending.wait()
        num_expected = sum(part.sampling is not None for part in planned.batch.sequences)
        if len(result.sampled) != num_expected:
            raise RuntimeError(f"{len(result.sampled)} tokens for {num_expected} sequences")
        return planned, result

    def clear(self) -> None:
        """Forgets all steps; nobody will wait for them."""
        self._under_way.clear()
