"""How far an engine has come on its way to its first request."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """What is being done, and how much of it; a total of 0: nobody knows how much there is."""

    stage: str
    done: int = 0
    total: int = 0
    unit: str = "B"


OnProgress = Callable[[LoadProgress], None]


def ignore_progress(_progress: LoadProgress) -> None:
    """Progress that nobody watches."""
