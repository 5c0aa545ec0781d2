"""The errors that Legato raises, as one tree.

LegatoError
├── RequestError              the client's fault; nothing was done; never retried
│   ├── InvalidRequestError       a field has the wrong type or value
│   ├── ContextLengthError        prompt (and answer) longer than the model's context
│   └── NotFoundError             what the request names is not here
│       └── ModelNotFoundError        no such model is served here
├── CapacityError             nobody's fault; the same request may succeed later
│   ├── OverloadedError           queues are full
│   ├── RateLimitError            this client has had its share for now
│   └── NoWorkerError             no live worker can take the request now
├── ConfigError               the operator's fault; start-up stops with one clear line
└── EngineError               a fault of ours or of the machine
    └── WorkerLostError           the worker went away in the middle

What an error looks like over HTTP is decided in legato.deployments.openai.errors, not here.
"""


class LegatoError(Exception):
    """The root; its text is one line, fit to be shown to the user."""


class RequestError(LegatoError):
    """The client's fault. `param` names the offending field, `code` is OpenAI's error code."""

    code: str | None = None

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidRequestError(RequestError):
    """A field has the wrong type or value."""


class ContextLengthError(RequestError):
    """Prompt, or prompt and answer, do not fit the context or the KV cache."""

    code = "context_length_exceeded"


class NotFoundError(RequestError):
    """What the request names is not here."""


class ModelNotFoundError(NotFoundError):
    """No model of this name is served here."""

    code = "model_not_found"


class CapacityError(LegatoError):
    """Nobody's fault; the same request may succeed after `retry_after_s` seconds."""

    code: str | None = None

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverloadedError(CapacityError):
    """Queues are full."""


class RateLimitError(CapacityError):
    """This client has had its share for now."""

    code = "rate_limit_exceeded"


class NoWorkerError(CapacityError):
    """No live worker can take the request now."""


class ConfigError(LegatoError):
    """The operator's fault: shown as one line at start-up, exit code 1."""


class EngineError(LegatoError):
    """A fault of ours or of the machine."""


class WorkerLostError(EngineError):
    """The worker went away while it worked on the request."""
