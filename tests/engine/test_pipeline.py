import pytest

from legato.engine.batch import (
    RunResult,
    SampledToken,
    SamplingInput,
    ScheduledBatch,
    ScheduledSequence,
)
from legato.engine.pipeline import StepPipeline
from legato.engine.sampling_params import SamplingParams
from legato.engine.step_plan import PlannedStep


class Echo:
    """Samples as many tokens as `num_sampled` says; notes what is launched and waited for."""

    pipeline_depth = 2

    def __init__(self, num_sampled: int) -> None:
        self.num_sampled = num_sampled
        self.journal: list[str] = []

    def launch(self, batch: ScheduledBatch) -> "EchoResult":
        self.journal.append(f"launch {batch.sequences[0].seq_id}")
        return EchoResult(self, batch)


class EchoResult:
    def __init__(self, runner: Echo, batch: ScheduledBatch) -> None:
        self._runner, self._batch = runner, batch

    def wait(self) -> RunResult:
        self._runner.journal.append(f"wait {self._batch.sequences[0].seq_id}")
        return RunResult((SampledToken(1, None),) * self._runner.num_sampled)


def planned(seq_id: int) -> PlannedStep:
    sampling = SamplingInput(SamplingParams(), 0, 0, (5,), (), ())
    part = ScheduledSequence(seq_id, (5,), 0, (0,), sampling)
    return PlannedStep(ScheduledBatch((part,)), 0, 1)


def test_steps_come_out_in_the_order_in_which_they_went_in() -> None:
    runner = Echo(num_sampled=1)
    pipeline = StepPipeline(runner)
    steps = [planned(seq_id) for seq_id in range(3)]
    pipeline.launch(steps[0])
    assert pipeline.has_room
    pipeline.launch(steps[1])
    assert not pipeline.has_room
    assert pipeline.collect()[0] is steps[0]
    pipeline.launch(steps[2])
    assert [pipeline.collect()[0] for _ in range(2)] == steps[1:]
    assert runner.journal == ["launch 0", "launch 1", "wait 0", "launch 2", "wait 1", "wait 2"]


def test_a_result_of_another_size_is_an_error() -> None:
    pipeline = StepPipeline(Echo(num_sampled=2))
    pipeline.launch(planned(0))
    with pytest.raises(RuntimeError, match="2 tokens for 1 sequences"):
        pipeline.collect()


def test_nobody_waits_for_forgotten_steps() -> None:
    runner = Echo(num_sampled=1)
    pipeline = StepPipeline(runner)
    pipeline.launch(planned(0))
    pipeline.clear()
    assert len(pipeline) == 0
    assert runner.journal == ["launch 0"]
