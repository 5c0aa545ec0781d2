"""What the HTTP surface asks of the cluster behind it, and nothing more.

    HTTP surface --GenerationRequest--> Backend --GenerationEvent, ...--> HTTP surface

One request here is one sequence: `n` and lists of prompts are spread before this line. Neither side
knows the other's implementation; a test puts a few lines of Python behind the same interface.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from legato.cluster.generation import GenerationEvent, GenerationRequest


class Backend(Protocol):
    def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Generates one sequence; closing the generator before its end cancels in the cluster.

        The timeline's stages behind this line are `queue` and `prefill`, which lie before the first
        token, and `reserve` and `transfer`, which overlap with them; `admission`, if the cluster
        waited before it placed the request. What then remains of the time to the first token is
        the stage `first_token`, which the caller computes.

        Raises (from the iteration):
            RequestError: the request can never be served.
            CapacityError: there is no room for it now.
            EngineError: it broke, and could not be taken up elsewhere.
        """

    def check_admission(self, num_sequences: int, num_tokens: int) -> None:
        """Refuses what would only wait: called before `generate`, for all sequences together.

        Raises:
            OverloadedError: queues are full.
            NoWorkerError: no live worker can take the request.
        """

    def is_ready(self) -> bool:
        """Whether new requests are welcome."""

    def is_alive(self) -> bool:
        """Whether this process can still do its work; False asks for a restart."""

    def load(self) -> Mapping[str, float]:
        """Figures of the present load, by name."""
