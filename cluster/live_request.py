"""A request on a worker: which router asked for it, and which engine sequence answers it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from legato.cluster.channel import Stream
from legato.cluster.wire import Failed, StageTimes, Submit, ToWorker
from legato.engine.batch import SequenceRequest
from legato.engine.errors import CapacityError, RequestError


@dataclass(slots=True, eq=False)
class LiveRequest:
    """One Submit, until it is finished, failed, handed over or cancelled."""

    stream: Stream[ToWorker]  # to the router that sent it
    submit: Submit
    on_over: Callable[["LiveRequest"], None]  # its worker forgets it
    seq_id: int | None = None  # None: not (or not yet) in the engine
    is_over: bool = False
    times: StageTimes = field(default_factory=StageTimes)

    @property
    def sequence_request(self) -> SequenceRequest:
        submit = self.submit
        return SequenceRequest(
            prompt_token_ids=tuple(submit.prompt_token_ids),
            params=submit.params,
            sampling_seed=submit.sampling_seed,
            output_token_ids=tuple(submit.output_token_ids),
            priority=submit.priority,
            salt=submit.salt,
        )

    def end(self) -> None:
        """The router has been told all there is to tell."""
        self.is_over = True
        self.on_over(self)

    def fail(self, error: Exception) -> None:
        """Tells the router; the request is over here."""
        self.stream.send(failure_of(self.submit.request, error))
        self.end()


def failure_of(request: int, error: Exception) -> Failed:
    """The message that stands for an error of the engine."""
    if isinstance(error, RequestError):
        return Failed(request, "client", str(error), error.param, error.code)
    if isinstance(error, CapacityError):
        return Failed(request, "capacity", str(error))
    return Failed(request, "lost", str(error) or type(error).__name__)
